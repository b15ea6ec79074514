"""Let the disk of writing verbs fail, and do what the last line says once the disk is well again.

    python storage_lab.py WORK quick | slow [unmounted]

    full       more and more pages are free, until the verb ends well
    read-only  nothing can be written where the output goes
    broken     every write fails with EIO from the 1st, 2nd, 4th, ... on

Each try is a fork of this process.  Prints one JSON document: what was seen, and what was wrong.
"""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from failing_storage import break_disk, fill, give_away, limit, lose_rights, mounted, writes
from killing import status_of, victim, watched, writes_of
from writing_verbs import Verb, command, loads, measured, prepare, run, verbs, written

MOST_PAGES = 400
CODES = {"full": "MB1013", "read-only": "MB1020", "broken": "MB1021"}
#: What the default run tries, and how fast its steps grow.
QUICK, STRIDES = ("protect", "unprotect", "pictures", "zoo"), {"quick": 4, "slow": 0.5}


class Lab:
    """A stage, a place whose disk can fail, and what was seen."""

    def __init__(self, work: Path, how: str, *, mount: bool) -> None:
        self.stage, self.said, self.disk = work / "stage", work / "said", work / "disk"
        for folder in (self.stage, self.disk):
            folder.mkdir()
        self.own, self.stride = mount and mounted(self.disk), STRIDES[how]
        prepare(self.stage, slow=how == "slow")
        if not self.own:
            give_away(self.stage)
        every = verbs(self.stage, slow=how == "slow")
        self.verbs = {name: every[name] for name in QUICK} if how == "quick" else every
        self.inputs = self.seen_inputs()
        self.tries, self.wrong = dict.fromkeys(CODES, 0), list[str]()

    def seen_inputs(self) -> dict[str, tuple[int, int]]:
        found = [path for path in self.stage.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

    def after(self, step: int) -> int:
        return step + max(1, int(step * self.stride))

    def task(self, verb: Verb, before: Callable[[], None] = lambda: None) -> Callable[[], None]:
        words, environment = command(verb, self.disk / "out")
        return partial(self.speak, words, environment, before)

    def speak(self, words: list[str], environment: Mapping[str, str], before: Callable[[], None]) -> None:
        fd = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(fd, 2)
        before()
        try:
            run(words, dict(environment))
        except SystemExit as stopped:
            os._exit(int(stopped.code or 0))

    def whole(self, verb: Verb) -> dict[str, bytes]:
        """Return what an undisturbed run writes."""
        place = self.stage.parent / "well"
        place.mkdir()
        run(*command(verb, place / "out"))
        found = written(place / "out")
        shutil.rmtree(place)
        return found

    def judge(self, kind: str, what: str, code: int, whole: Mapping[str, bytes]) -> None:
        """Look at a run that met the disk: its code, its lines, what it left."""
        lines = [line for line in self.said.read_text().splitlines() if line.strip()]
        errors, found = [line for line in lines if line.startswith("error: ")], written(self.disk / "out")
        if code != 2:
            self.wrong.append(f"{what}: exit code {code}")
        if len(errors) != 1 or CODES[kind] not in errors[0] or any("Traceback" in line for line in lines):
            self.wrong.append(f"{what}: says {lines[-4:]}")
        made = {name: data for name, data in whole.items() if name.startswith("OUT/")}
        if loads(self.disk / "out") and not made.items() <= found.items():
            self.wrong.append(f"{what}: left something that loads")
        if not self.inputs.items() <= self.seen_inputs().items():
            self.wrong.append(f"{what}: changed an input")

    def again(self, name: str, what: str, whole: Mapping[str, bytes]) -> None:
        """Do what the last line says, or the same command again; the result must be that of an undisturbed run."""
        verb, said = self.verbs[name], self.said.read_text()
        last = said.splitlines()[-1] if said else ""
        offers = last.startswith(("resume with: mergebarrier ", "run again: mergebarrier "))
        if "--resume" in said and not offers:
            self.wrong.append(f"{what}: names --resume and does not offer it: {said!r}")
        words, environment = command(verb, self.disk / "out")
        words = shlex.split(last.partition("mergebarrier ")[2]) if offers else words
        status = code_of(partial(self.speak, words, environment, lambda: None))
        found = written(self.disk / "out")
        if status:
            self.wrong.append(f"{what}: then `{shlex.join(words)}` ends with {status}: {self.said.read_text()!r}")
        elif found.keys() != whole.keys():
            self.wrong.append(f"{what}: other files afterwards: {sorted(found.keys() ^ whole.keys())}")
        elif not verb.drawn and (odd := [key for key in whole if found[key] != whole[key] and not measured(key)]):
            self.wrong.append(f"{what}: other bytes afterwards: {odd}")


def code_of(task: Callable[[], None]) -> int:
    return os.waitstatus_to_exitcode(status_of(victim(task)))


def full(lab: Lab, name: str) -> None:
    """Leave more and more pages until the verb ends well."""
    verb, pages, code = lab.verbs[name], 0 if lab.own else 1, 2  # a limit of none would gag the screen, a file here
    whole = lab.whole(verb)
    while code and pages < MOST_PAGES:
        if lab.own:
            fill(lab.disk, pages)
        code = code_of(lab.task(verb, (lambda: None) if lab.own else partial(limit, pages)))
        if code:
            lab.tries["full"] += 1
            lab.judge("full", f"{name}, {pages} pages", code, whole)
            (lab.disk / "FILLER").unlink(missing_ok=True)
            lab.again(name, f"{name}, {pages} pages", whole)
        wipe(lab.disk)
        pages = lab.after(pages)


def read_only(lab: Lab, name: str) -> None:
    """Forbid every write to where the output goes."""
    if lab.own:
        writes(lab.disk, False)
    else:
        lab.disk.chmod(0o555)
    lab.said.touch()
    lab.said.chmod(0o666)
    code = code_of(lab.task(lab.verbs[name], (lambda: None) if lab.own else lose_rights))
    lab.tries["read-only"] += 1
    lab.judge("read-only", f"{name}, read-only", code, {})
    if lab.own:
        writes(lab.disk, True)
    else:
        lab.disk.chmod(0o755)
    if any(lab.disk.iterdir()):
        lab.wrong.append(f"{name}: wrote to a read-only file system")


def broken(lab: Lab, name: str) -> None:
    """Break the disk before the 1st, 2nd, 4th, ... call that writes."""
    verb = lab.verbs[name]
    whole = lab.whole(verb)
    calls, call = writes_of(lab.task(verb)), 1
    wipe(lab.disk)
    while call <= calls:
        code = code_of(partial(watched, lab.task(verb), partial(break_at, call)))
        what = f"{name}, broken before write {call} of {calls}"
        lab.tries["broken"] += 1
        if code:
            lab.judge("broken", what, code, whole)
            lab.again(name, what, whole)
        elif written(lab.disk / "out").keys() != whole.keys():
            lab.wrong.append(f"{what}: ended well")
        wipe(lab.disk)
        call = lab.after(call)


def break_at(call: int, now: int) -> None:
    if now == call:
        break_disk()


def wipe(folder: Path) -> None:
    """Empty a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def main() -> None:
    lab = Lab(Path(sys.argv[1]), sys.argv[2], mount="unmounted" not in sys.argv)
    for name in lab.verbs:
        for attempt in (full, read_only, broken):
            attempt(lab, name)
    print(json.dumps({"mounted": lab.own, "verbs": len(lab.verbs), **lab.tries, "wrong": lab.wrong}, indent=1))


if __name__ == "__main__":
    main()
