"""Mutants of every file from a stranger: an answer, never a fault of ours, a hang, a large memory or half an output."""

import os
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from fuzzing import TARGETS, corpus, place
from mergebarrier.checkpoint import open_checkpoint, verify_manifest
from mergebarrier.errors import MergebarrierError
from model_folders import payload

MOST_SECONDS = 10.0
MOST_KIB = 1 << 20
ANSWERS = (0, 1, 2, 64)


def reads_the_same(folder: Path) -> bool:
    """Whether safetensors reads what we accept as we do; True where we refuse."""
    try:
        checkpoint = open_checkpoint(folder)
    except MergebarrierError:
        return True
    with checkpoint:
        found = {}
        for shard in sorted({info.shard for info in checkpoint.tensors.values()}):
            with safe_open(folder / shard, "pt") as theirs:
                found |= {name: theirs.get_tensor(name) for name in theirs.keys()}
        if found.keys() != checkpoint.tensors.keys():
            return False
        try:
            ours = {name: checkpoint.read(name) for name in checkpoint.tensors}
        except MergebarrierError:
            return True
        return all(
            (ours[name].shape, payload(ours[name])) == (theirs.shape, payload(theirs)) for name, theirs in found.items()
        )


def wrong_with(ran: Any, out: Path, before: list[str], taken_s: float) -> str:
    """Return what an answer to a mutant has wrong; "" for nothing."""
    if ran.exit_code not in ANSWERS:
        return f"exit code {ran.exit_code}: {ran.stderr[-300:]}"
    said = ran.stderr + ran.stdout
    if any(mark in said for mark in ("Traceback", "\x1b", "\u202e")):
        return f"a traceback or an escape: {ran.stderr[-300:]!r}"
    if taken_s > MOST_SECONDS:
        return f"took {taken_s:.1f} s"
    if ran.exit_code != 0 and out.exists():
        return "left an output behind"
    if out.exists() and verify_manifest(out):
        return "an output that its manifest does not list"
    left = sorted(set(os.listdir(out.parent)) - set(before) - {out.name, f"{out.name}.partial"})
    if left:
        return f"left {left} behind"
    return ""


def hangs(number: int, frame: object) -> None:
    raise TimeoutError("a mutant hangs")


def hunt(numbers: range, root: Path, run_cli: Callable[..., Any]) -> Counter[str]:
    """Try mutants; fail at the first with something wrong."""
    corpus(root, run_cli)
    out, seen = root / "out", Counter[str]()
    before = os.listdir(root)
    signal.signal(signal.SIGALRM, hangs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        target, words, file, seed = place(root, out, number)
        try:
            signal.setitimer(signal.ITIMER_REAL, 6 * MOST_SECONDS)
            started = time.process_time()
            ran = run_cli(*words)
            wrong = wrong_with(ran, out, before, time.process_time() - started)
            if not wrong and target.name in ("header", "index", "config") and not reads_the_same(file.parent):
                wrong = "safetensors reads something else"
            assert not wrong, f"mutant {number} of the {target.name}, `{' '.join(words)}`: {wrong}"
            seen[f"{target.name} {ran.exit_code}"] += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            file.write_bytes(seed)
            shutil.rmtree(f"{out}.partial", ignore_errors=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < MOST_KIB
    return seen


def test_three_hundred_mutants_are_answered(tmp_path: Path, run_cli) -> None:
    seen = hunt(range(300), tmp_path / "corpus", run_cli)
    assert {kind.split()[0] for kind in seen} == {target.name for target in TARGETS}
    assert sum(n for kind, n in seen.items() if kind.endswith(" 2")) > 60, seen


@pytest.mark.slow
def test_three_thousand_mutants_are_answered(tmp_path: Path, run_cli) -> None:
    seen = hunt(range(1000, 4000), tmp_path / "corpus", run_cli)
    assert seen.total() == 3000 and torch.get_num_threads()
