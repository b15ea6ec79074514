"""Kill verbs that write at random moments, and finish them: no part that loads, the same result as undisturbed.

    python verbs_kill_lab.py WORK COUNT VERB...        VERB: of writing_verbs, "over VERB" for --overwrite, "fetch"

Each victim is a fork of this process.  Prints one JSON document: kills that struck, and what was wrong.
"""

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from killing import killed_before, killed_soon_after, status_of, victim, writes_of
from mergebarrier.zoo.catalogue import ASSETS
from package_index import Index
from writing_verbs import BELOW, Verb, command, loads, prepare, run, steady, verbs, written


class Lab:
    """A stage, and what was seen."""

    def __init__(self, work: Path, *, slow: bool, index: Mapping[str, str]) -> None:
        self.stage, self.place, self.said, self.index = work / "stage", work / "place", work / "said", index
        self.stage.mkdir()
        prepare(self.stage, slow=slow)
        fetch = Verb(("zoo", "fetch", "kjv"), place="MERGEBARRIER_CACHE")
        self.verbs = {**verbs(self.stage, slow=slow), "fetch": fetch}
        self.struck, self.wrong = 0, list[str]()

    def task(self, verb: Verb, *more: str) -> Callable[[], None]:
        words, environment = command(verb, self.place / "out", *more)
        return partial(self.speak, words, {**environment, **self.index})

    def speak(self, words: list[str], environment: Mapping[str, str]) -> None:
        os.dup2(os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        run(words, dict(environment))

    def undisturbed(self, verb: Verb) -> dict[str, bytes]:
        status = status_of(victim(self.task(verb)))
        assert status == 0, self.said.read_text()
        return written(self.place / "out")

    def kill(self, name: str, count: int, draw: random.Random) -> None:
        over, verb = name.startswith("over "), self.verbs[name.removeprefix("over ")]
        self.fresh()
        whole = self.undisturbed(verb)
        if verb in (self.verbs["merge"], self.verbs["protect"]):
            assert all(whole[f"OUT/{name}"] == data for name, data in BELOW.items()), sorted(whole)
        self.fresh()
        old, more = (self.old(verb), ("--overwrite",)) if over else ({}, ())
        calls = writes_of(self.task(verb, *more))
        for n in range(count):
            self.fresh()
            if over:
                self.old(verb)
            strike = (killed_before, killed_soon_after)[n % 2]
            self.struck += strike(draw.randint(1, calls), self.task(verb, *more)) == signal.SIGKILL
            self.look(f"{name}, kill {n}", verb, whole, old)

    def old(self, verb: Verb) -> dict[str, bytes]:
        """Put another output of ours where the new one goes."""
        other = "audit" if verb.words[0] == "audit" else "realign" if verb.words[0] != "realign" else "merge"
        words, _ = command(self.verbs[other], self.place / "out")
        run([*words, "--seed", "1"] if other == "audit" else words)
        return written(self.place / "out")

    def look(self, what: str, verb: Verb, whole: dict[str, bytes], old: dict[str, bytes]) -> None:
        """After a kill: nothing that loads and is not whole; then the same again, and the result of a quiet run."""
        found = written(self.place / "out")
        if loads(self.place / "out"):
            self.wrong.append(f"{what}: something loads")
        new = {
            name: data for name, data in whole.items() if name.startswith("OUT/")
        }  # what is beside it may come later
        if old and not any(kept.items() <= found.items() for kept in (old, new)):
            there = {name.replace("OUT.replaced/", "OUT/"): data for name, data in found.items()}
            if not old.items() <= there.items() and "audit" not in verb.words:
                self.wrong.append(f"{what}: the old output is lost")
        again = ("--resume",) if verb.place == "-o" and not verb.suffix else ()
        if old and "audit" not in verb.words and not (self.place / "out.partial" / "overwrite").exists():
            again = ("--overwrite",)  # it died before it had begun
        status = status_of(victim(self.task(verb, *again)))
        found = written(self.place / "out")
        if status:
            said = [line[:1000] for line in self.said.read_text().splitlines() if not line.startswith("resume with")]
            self.wrong.append(f"{what}: then ends with {status}: {said[-5:]}")
        elif found.keys() != whole.keys():
            self.wrong.append(f"{what}: other files: {sorted(found.keys() ^ whole.keys())}")
        elif not verb.drawn and steady(found) != steady(whole):
            self.wrong.append(f"{what}: another result")

    def fresh(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()


def main() -> None:
    work, count, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    with ExitStack() as stack:
        index: Mapping[str, str] = {}
        if "fetch" in names:
            served = stack.enter_context(Index(work / "index"))
            index = served.environment
            dict.__setitem__(ASSETS, "kjv", served.asset)
        lab = Lab(work, slow=any(name.split()[-1] in ("audit", "merge", "measure") for name in names), index=index)
        for name in names:
            lab.kill(name, count, random.Random(name))
    print(json.dumps({"struck": lab.struck, "wrong": lab.wrong}, indent=1))


if __name__ == "__main__":
    main()
