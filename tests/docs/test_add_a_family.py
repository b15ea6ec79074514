"""docs/add_a_family.md, followed to the letter on a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "add_a_family.md"
FAMILIES = Path("mergebarrier", "arch", "families")


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """The blocks of code of the page, in order."""
    return re.findall(r"```(?:python|console)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def run(blocks, tmp_path_factory):
    """Run a program with a copy of the package to which the file and the line of the page were added."""
    copy, folder = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("work")
    shutil.copytree(ROOT / "src" / "mergebarrier", copy / "mergebarrier", ignore=shutil.ignore_patterns("__pycache__"))
    table, imported = blocks[:2]
    entry = re.findall(r"```text\n(_TEXTS: Final = .*)\n```", PAGE.read_text(encoding="utf-8"))[0]
    (copy / FAMILIES / "starcoder2.py").write_text(table)
    registry = copy / FAMILIES / "registry.py"
    text = registry.read_text()
    last = text.rindex("from mergebarrier.arch.families")
    changed = re.sub(r"^_TEXTS: Final = \(GPT,", entry, text[:last] + imported + text[last:], flags=re.MULTILINE)
    assert entry in changed
    registry.write_text(changed)

    def program(text: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(copy)}
        return subprocess.run([sys.executable, "-c", text], cwd=folder, env=environment, capture_output=True, text=True)

    return program


def test_the_page_adds_a_family_that_protects_and_realigns(blocks, run) -> None:
    model, commands, compared = blocks[2:]
    words = [line.split()[2:] for line in commands.splitlines()]
    assert [line[0] for line in words] == ["inspect", "protect", "unprotect", "realign"]
    typed = f"from mergebarrier.cli import main\nassert [main(words) for words in {words}] == [0] * {len(words)}\n"
    ran = run("\n".join((model, typed, compared)))
    assert ran.returncode == 0, ran.stderr


def test_the_file_of_the_page_is_one_that_we_would_take(blocks) -> None:
    for check in (["check"], ["format", "--diff"]):
        program = [
            sys.executable,
            "-m",
            "ruff",
            *check,
            "--stdin-filename",
            "src/mergebarrier/arch/families/starcoder2.py",
        ]
        ran = subprocess.run([*program, "-"], input=blocks[0], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
