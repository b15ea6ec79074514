"""Commands that are killed or interrupted go on where they were, and end with the bytes of an undisturbed run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import _models
from scripts import with_helpers

HERE = Path(__file__).parent


def lab(mode: str, work: Path, *, seed: int, count: int) -> dict[str, int]:
    _models.write(work / "base", "tiny")
    for expert, name in enumerate(("a", "b")):
        _models.write(work / name, "tiny", step=0.1, expert=expert)
    return said_by("resume_lab.py", mode, work, seed, count)


def said_by(script: str, *words: object) -> dict[str, int]:
    line = [sys.executable, str(HERE / script), *map(str, words)]
    ran = subprocess.run(line, env=with_helpers(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    seen: dict[str, int] = json.loads(ran.stdout)
    return seen


@pytest.mark.slow
def test_merges_that_are_killed_end_with_the_same_bytes(tmp_path: Path) -> None:
    seen = lab("killed", tmp_path, seed=12, count=30)
    assert seen["kills"] >= 27 and seen["resumed_units"] > 0


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_the_line_that_ctrl_c_leaves_finishes_every_verb(tmp_path: Path, count: int) -> None:
    seen = lab("interrupted", tmp_path, seed=3, count=count)
    assert seen["interrupts"] >= 2 * count and seen["over_old"] >= 2


@pytest.mark.slow
def test_so_does_the_line_of_the_verbs_that_import_mark_copy_and_poison(tmp_path: Path) -> None:
    seen = said_by("trained_lab.py", tmp_path, 4, 2)
    assert len(seen) == 7 and set(seen.values()) == {2}
