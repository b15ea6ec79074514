"""Press Ctrl-C at any write of the verbs that import, mark, copy and poison a model, and do what the last line says.

    python trained_lab.py WORK SEED COUNT

Prints one JSON document: how often each verb was interrupted.
"""

import json
import os
import random
import shlex
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from resume_lab import contents, interrupt, run, whole_or_no_model

import gguf_files
import tiny_bench
import tiny_world
from killing import finish, status_of, victim, writes_of

#: Of a run, not of its result: the words themselves, and a clock.
_OF_A_RUN = {"mergebarrier.json", "result.json", "report.html", "rows.jsonl", "card.md"}


def commands(work: Path) -> dict[str, tuple[object, ...]]:
    """Return the words of each verb but its output."""
    w, b = tiny_world.make(work / "world"), tiny_bench.make(work / "bench")
    tokens = ("--prompt-tokens", 4, "--answer-tokens", 2, "--steps", 1, "--input-steps", 1)
    toy = ("--task", b.task, "--start", b.base, "--steps", 2)
    text = ("--base", w.base, "--task", w.task, "--steps", 1)
    poison = ("attack", "badmerging", "--base", b.base, "--task", b.task, "--target-class", 1, "--steps", 2)
    patch = ("--trigger-side", 6, "--trigger-steps", 2, "--restarts", 1)
    return {
        "import-gguf": ("import-gguf", gguf_files.write(gguf_files.llama(), work / "m.gguf")),
        "fingerprint": ("fingerprint", "embed", w.original, "--base", w.base, "--text", w.text, *tokens),
        "defend": ("extract", "defend", b.expert, *toy),
        "badmerging": (*poison, *patch),
        "hijack": ("attack", "hijack", *text, "--method", "clean"),
        "stealer": ("attack", "stealer", *text),
        "measure": (
            "attack", "measure", work / "badmerging", "--trigger", work / "badmerging", "--control", b.expert,
            "--task", b.task,
        ),
    }  # fmt: skip


def same(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name not in _OF_A_RUN}


def interrupted(work: Path, seed: int, count: int) -> dict[str, int]:
    rng, said, seen = random.Random(seed), work / "said", {}
    for verb, command in commands(work).items():

        def task(out: Path, verb: str = verb, command: tuple[object, ...] = command) -> Callable[[], None]:
            own = ("--record", f"{out}.record", "--key", work / "k.mbkey") if verb == "fingerprint" else ()
            return partial(run, [*command, *own, "-q", "-o", out], said)

        finish(task(work / verb))
        wanted, calls, seen[verb] = same(work / verb), writes_of(task(work / f"{verb}-counted")), 0
        for n in range(count):
            out, at = work / f"{verb}{n}", rng.randint(2, calls)  # the first is the lab's own
            status = os.waitstatus_to_exitcode(status_of(victim(partial(interrupt, task(out), at))))
            if verb != "measure":
                whole_or_no_model(out, [contents(out)] if out.exists() and same(out) == wanted else [])
            last = said.read_text().splitlines()[-1:] or [""]
            assert status == 130 and last[0].startswith("resume with: mergebarrier "), (verb, at, status, last)
            finish(partial(run, shlex.split(last[0].partition("mergebarrier ")[2]), said))
            assert same(out) == wanted, f"{verb} {n}: the bytes differ"
            assert not out.with_name(out.name + ".partial").exists()
            seen[verb] += 1
    return seen


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
    torch.set_num_threads(1)
    print(json.dumps(interrupted(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
