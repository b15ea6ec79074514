"""Verbs that train, fetch, score or replace are killed at random moments: no part loads, the result is the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import with_helpers

LAB = Path(__file__).with_name("verbs_kill_lab.py")


def lab(work: Path, count: int, *verbs: str) -> dict[str, Any]:
    words = [sys.executable, str(LAB), str(work), str(count), *verbs]
    ran = subprocess.run(words, env=with_helpers(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    seen: dict[str, Any] = json.loads(ran.stdout)
    assert seen["wrong"] == [], "\n".join(seen["wrong"])
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb",
    [
        "audit",
        "merge",
        "protect",
        "data merge",
        "attack",
        "measure",
        "fetch",
        "over merge",
        "over protect",
        "over attack",
        "over audit",
    ],
)
def test_thirty_kills_leave_no_part_and_change_no_result(verb: str, tmp_path: Path) -> None:
    assert lab(tmp_path, 30, verb)["struck"] >= 24
