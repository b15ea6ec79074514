"""One formatter, one linter, one type checker; a change that any of them refuses is not finished.

Programs on the front door are type-checked as a user's are: the right one passes, each wrong line is found.  They stand
in this file so that one process looks at the package, and the second look takes what the first has learned.
"""

import re
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


def _lines_refused(root, *programs: str) -> dict[str, set[int]]:
    """Return {program: lines that mypy refuses}."""
    words = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *(f"tests/typing/{p}" for p in programs)]
    ran = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=600)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    found: dict[str, set[int]] = {program: set() for program in programs}
    for program, line in re.findall(r"^tests/typing/(\w+\.py):(\d+): error", ran.stdout, re.MULTILINE):
        found[program].add(int(line))
    assert any(found.values()) == bool(ran.returncode), ran.stdout
    return found


def test_programs_on_the_front_door_type_check_and_mistakes_do_not(root) -> None:
    text = (root / "tests" / "typing" / "wrong.py").read_text(encoding="utf-8")
    wrong = {number for number, line in enumerate(text.splitlines(), 1) if "# wrong: " in line}
    assert len(wrong) >= 5
    assert _lines_refused(root, "right.py", "wrong.py") == {"right.py": set(), "wrong.py": wrong}
