"""A full, a read-only and a broken disk: one line with a code, exit 2, nothing lost, and the named way on works.

The disk is a mounted tmpfs; where the machine mounts none, files are limited in size and rights are given up instead.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import with_helpers

LAB = Path(__file__).with_name("storage_lab.py")


def lab(work: Path, *how: str) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, str(LAB), str(work), *how], env=with_helpers(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    seen: dict[str, Any] = json.loads(ran.stdout)
    assert seen["wrong"] == [], "\n".join(seen["wrong"])
    return seen


def test_a_disk_that_fails_costs_a_line_and_no_work(tmp_path: Path) -> None:
    seen = lab(tmp_path, "quick")
    assert min(seen["full"], seen["read-only"], seen["broken"]) >= seen["verbs"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("mount", [(), ("unmounted",)], ids=["mounted", "limits"])
def test_every_verb_that_writes_survives_every_disk(tmp_path: Path, mount: tuple[str, ...]) -> None:
    seen = lab(tmp_path, "slow", *mount)
    assert seen["verbs"] == 13 and seen["read-only"] == 13 and min(seen["full"], seen["broken"]) >= 2 * 13
