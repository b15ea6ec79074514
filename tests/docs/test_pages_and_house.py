"""What the pages tell a newcomer to add is what the checks of the house take: types, doors, sizes, bans."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import test_add_a_merge_method
import test_add_a_protection
import test_add_an_attack

from how_to import ROOT

CHECKS = ("bans", "exports", "import_direction", "size")


@pytest.mark.slow
def test_what_the_pages_add_passes_the_checks_of_the_house(tmp_path: Path) -> None:
    for name in ("src", "tests", "docs", "benchmarks", "pyproject.toml", "README.md"):
        place = ROOT / name
        copy = shutil.copytree if place.is_dir() else shutil.copy
        copy(place, tmp_path / name, **({"ignore": shutil.ignore_patterns("__pycache__")} if place.is_dir() else {}))
    for page in (test_add_a_merge_method.PAGE, test_add_a_protection.PAGE, test_add_an_attack.PAGE):
        page.apply(tmp_path / "src" / "mergebarrier")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    house = [f"tests/house/test_{name}.py" for name in CHECKS]
    for words in (["mypy"], ["pytest", "-q", "-p", "no:randomly", f"--basetemp={tmp_path / 'work'}", *house]):
        command = [sys.executable, "-m", *words]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
