"""docs/add_a_merge_method.md, followed to the letter on a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
METHODS = Path("mergebarrier", "merge", "methods")


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """The blocks of code of the page, in order."""
    page = (ROOT / "docs" / "add_a_merge_method.md").read_text(encoding="utf-8")
    return re.findall(r"```\w+\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def run(blocks, tmp_path_factory):
    """Run a program with a copy of the package to which the file and the line of the page were added."""
    copy, folder = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("work")
    shutil.copytree(ROOT / "src" / "mergebarrier", copy / "mergebarrier", ignore=shutil.ignore_patterns("__pycache__"))
    method, imported, entry = blocks[:3]
    (copy / METHODS / "median.py").write_text(method)
    registry = copy / METHODS / "registry.py"
    text = registry.read_text()
    last = text.rindex("from mergebarrier.merge.methods")
    text = (text[:last] + imported + text[last:]).rstrip().removesuffix("}") + entry + "}\n"
    registry.write_text(text)

    def program(text: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, "-c", text], cwd=folder, env=environment, capture_output=True, text=True)

    return program


def test_the_page_adds_a_method_that_merges_as_its_equation_says(blocks, run) -> None:
    models, commands, compared = blocks[3:]
    words = [line.split()[2:] for line in commands.splitlines()]
    assert [line[0] for line in words] == ["help", "merge", "merge"]
    ran = run(f"{models}\nfrom mergebarrier.cli import main\nassert [main(words) for words in {words}] == [0] * 3\n")
    assert ran.returncode == 0, ran.stderr
    assert "median: a median up to this size is none" in " ".join(ran.stdout.split())
    assert "median lambda=0.5 least=0.001 depth=" in ran.stdout or "median least=0.001 lambda=0.5 depth=" in ran.stdout
    ran = run(compared)
    assert ran.returncode == 0, ran.stderr


def test_the_file_of_the_page_is_one_that_we_would_take(blocks) -> None:
    for check in (["check"], ["format", "--diff"]):
        program = [sys.executable, "-m", "ruff", *check, "--stdin-filename", "src/mergebarrier/merge/methods/median.py"]
        ran = subprocess.run([*program, "-"], input=blocks[0], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_help_with_the_new_method_loads_no_torch(run) -> None:
    ran = run(
        "import sys\nfrom mergebarrier.cli import main\nmain(['merge', '--help'])\nassert 'torch' not in sys.modules"
    )
    assert ran.returncode == 0 and "--least" in ran.stdout, ran.stderr
