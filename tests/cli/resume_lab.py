"""Kill real commands, follow the line that they print or the same words with ``--resume``, and compare every byte.

    python resume_lab.py MODE WORK SEED COUNT        MODE: killed | interrupted; WORK holds base, a and b

Each victim is a fork of this process, so a kill costs milliseconds.  Prints one JSON document.
"""

import json
import os
import random
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from killing import finish, killed_before, killed_soon_after, status_of, victim, watched, writes_of
from mergebarrier.checkpoint import open_checkpoint, verify_manifest
from mergebarrier.cli import main
from mergebarrier.errors import MergebarrierError


def run(words: Sequence[object], said: Path) -> None:
    """Run a command line as the only thing of this process, with what it says in a file."""
    fd = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(fd, 2)
    torch.set_num_threads(1)
    code = main([str(word) for word in words])
    if code:
        os._exit(code)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def whole_or_no_model(out: Path, allowed: Sequence[dict[str, bytes]]) -> None:
    """Whatever the moment: no output, or one that is whole."""
    try:
        open_checkpoint(out).close()
    except MergebarrierError:
        return
    assert contents(out) in allowed and verify_manifest(out) == []


class Lab:
    """Models, the commands that are tried, and what an undisturbed run of each writes."""

    def __init__(self, work: Path) -> None:
        self.said, self.work = work / "said", work
        base, a, b = (work / name for name in ("base", "a", "b"))
        key = work / "owner.mbkey"
        self.commands: dict[str, list[object]] = {
            "merge": ["merge", a, b, "--base", base, "--method", "ties", "--density", "0.5"],
            "protect": ["protect", a, "--key", key],
            "realign": ["realign", work / "reference-protect", "--base", base],
            "unprotect": ["unprotect", work / "reference-protect", "--key", key],
        }
        self.reference = {verb: self.undisturbed(verb, work / f"reference-{verb}") for verb in self.commands}

    def task(self, verb: str, out: Path, *more: str) -> Callable[[], None]:
        return partial(run, [*self.commands[verb], "-q", "-o", out, *more], self.said)

    def undisturbed(self, verb: str, out: Path) -> dict[str, bytes]:
        finish(self.task(verb, out))
        return contents(out)


def killed(lab: Lab, seed: int, count: int) -> dict[str, int]:
    """Kill merges at random moments; the same words with --resume end with the bytes of an undisturbed run."""
    rng, seen = random.Random(seed), {"kills": 0, "resumed_units": 0}
    calls = writes_of(lab.task("merge", lab.work / "counted"))
    for n in range(count):
        out = lab.work / f"killed{n}"
        status = (killed_before, killed_soon_after)[n % 2](rng.randint(1, calls), lab.task("merge", out))
        seen["kills"] += status == signal.SIGKILL
        whole_or_no_model(out, [lab.reference["merge"]])
        seen["resumed_units"] += len([*out.with_name(out.name + ".partial").glob("tasks/*.done")])
        finish(lab.task("merge", out, "--resume"))
        assert contents(out) == lab.reference["merge"], f"kill {n}: the bytes differ"
    return seen


def interrupted(lab: Lab, seed: int, count: int) -> dict[str, int]:
    """Press Ctrl-C at random moments, over nothing or over an old output, and do what the last line says."""
    rng, seen = random.Random(seed), {"interrupts": 0, "over_old": 0}
    for verb in lab.commands:
        calls = writes_of(lab.task(verb, lab.work / f"counted-{verb}"))
        for n in range(count):
            out, over = lab.work / f"{verb}{n}", n % 2 == 1
            old = lab.undisturbed("merge" if verb != "merge" else "realign", out) if over else {}
            task, at = lab.task(verb, out, *["--overwrite"] * over), rng.randint(1, calls)
            status = os.waitstatus_to_exitcode(status_of(victim(partial(interrupt, task, at))))
            whole_or_no_model(out, [lab.reference[verb], old])
            if status == 0:
                continue
            last = lab.said.read_text().splitlines()[-1]
            wanted = ("resume with: mergebarrier ", *["run again: mergebarrier "] * over)
            assert status == 130 and last.startswith(wanted), (verb, status, last)
            finish(partial(run, shlex.split(last.partition("mergebarrier ")[2]), lab.said))
            assert contents(out) == lab.reference[verb], f"{verb} {n}: the bytes differ"
            seen["interrupts"] += 1
            seen["over_old"] += over
    return seen


def interrupt(task: Callable[[], None], at: int) -> None:
    """Do a task and press Ctrl-C just before its n-th write."""
    watched(task, lambda call: os.kill(os.getpid(), signal.SIGINT) if call == at else None)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
    mode, work, seed, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    print(json.dumps({"killed": killed, "interrupted": interrupted}[mode](Lab(work), seed, count)))
