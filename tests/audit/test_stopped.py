"""An audit and a demo that are killed or interrupted go on where they were, and end as if nothing had happened."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import with_helpers

LAB = Path(__file__).with_name("stopped_lab.py")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["audit", "demo"])
def test_the_line_that_ctrl_c_leaves_finishes_it_and_resume_does_after_a_kill(verb: str, tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, str(LAB), verb, str(tmp_path)], env=with_helpers(), capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    seen = json.loads(ran.stdout)
    assert 0 < seen["before Ctrl-C"] < seen["rows"] and 0 < seen["before the kill"] < seen["rows"]
