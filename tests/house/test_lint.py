"""One formatter, one linter, one type checker; a change that any of them refuses is not finished."""

import subprocess
import sys

import pytest

CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_tree_is_clean(check: str, root) -> None:
    ran = subprocess.run([sys.executable, "-m", *CHECKS[check]], cwd=root, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]
