"""docs/add_a_protection.md, followed to the letter on a copy of the package; docs/protections.md, current."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_models

ROOT = Path(__file__).parents[2]
PROTECT = Path("mergebarrier", "protect")
Run = Callable[..., str]


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """The blocks of code of the page, in order."""
    page = (ROOT / "docs" / "add_a_protection.md").read_text(encoding="utf-8")
    return re.findall(r"```\w+\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def copy(blocks: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of package and pages with the file and the line of the page."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src" / "mergebarrier", copy / "mergebarrier", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs", copy / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    file, imported, entry = blocks[:3]
    (copy / PROTECT / "gain.py").write_text(file)
    registry = copy / PROTECT / "registry.py"
    text = registry.read_text()
    last = text.index("from mergebarrier.protect.mergebarrier")
    registry.write_text((text[:last] + imported + text[last:]).rstrip().removesuffix("}") + entry + "}\n")
    return copy


@pytest.fixture(scope="module")
def run(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a program with that copy, in a folder with a model."""
    folder = tmp_path_factory.mktemp("work")
    tiny_models.save("qwen2", folder / "MODEL")

    def program(*words: str) -> str:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(copy), str(ROOT / "tests" / "helpers")))}
        ran = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    return program


def test_the_page_adds_a_protection_that_goes_there_and_back(blocks: list[str], run: Run) -> None:
    protect, unprotect, inspect = (line.split()[1:] for line in blocks[3].splitlines())
    said = run("-m", "mergebarrier", *protect)
    assert "protected by gain (values times 8)" in said and "comparing norms" in said
    run("-m", "mergebarrier", *unprotect)
    assert "method gain" in run("-m", "mergebarrier", *inspect)
    contents = {
        folder: json.loads(run("-c", f"print(open({folder + '/mergebarrier.json'!r}).read())"))["content"]
        for folder in ("OUT", "BACK")
    }
    exact = {"power": 3, "reversibility": "exact", "determinism": "exact"}
    assert contents["OUT"]["method"] == "gain" and contents["OUT"]["parameters"] == exact
    assert contents["BACK"]["output"]["content_digest"] == contents["OUT"]["inputs"][0]["content_digest"]
    assert contents["BACK"]["output"]["content_digest"] != contents["OUT"]["output"]["content_digest"]


def test_a_new_protection_is_in_help_report_and_documents(copy: Path, run: Run) -> None:
    shown = " ".join(run("-m", "mergebarrier", "protect", "--help").split())
    assert "[exact|gain|mergebarrier]" in shown or "[exact|mergebarrier|gain]" in shown
    assert "gain: power of two that values are multiplied by (a whole number from 1 to 8)" in shown
    assert "--power N" in shown
    report = """
import made_up
from mergebarrier.protect import PROTECTIONS
from mergebarrier.report import wording
gain = PROTECTIONS["gain"]
result = made_up.made_up_result(method="gain", method_keyed=gain.keyed, method_limit=gain.limit)
print(*wording.limits(result), sep="\\n")
"""
    assert "Limit of gain: One small number is the whole secret" in run("-c", report)
    run(str(copy / "docs" / "_generate_protections.py"))
    page = (copy / "docs" / "protections.md").read_text()
    assert "## gain" in page and "| `--power` | Power of two that values are multiplied by. |" in page
    assert "One small number is the whole secret" in page and "## exact" in page


def test_a_new_protection_is_tested_by_being_there(blocks: list[str], run: Run) -> None:
    _, module, runner, laws, by, name = blocks[4].split()
    some = f"{name} and (default or outside or promises and gqa)"
    said = run(module, runner, "-q", "--rootdir", str(ROOT), str(ROOT / laws), by, some)
    assert " passed" in said and "deselected" in said


def test_the_file_of_the_page_is_one_that_we_would_take(blocks: list[str]) -> None:
    for check in (["check"], ["format", "--diff"]):
        program = [sys.executable, "-m", "ruff", *check, "--stdin-filename", "src/mergebarrier/protect/gain.py"]
        ran = subprocess.run([*program, "-"], input=blocks[0], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_page_of_protections_is_what_they_declare() -> None:
    program = "import _generate_protections as page; assert page.PAGE.read_text() == page.render()"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT / "docs", capture_output=True, text=True)
    assert ran.returncode == 0, "run python docs/_generate_protections.py\n" + ran.stderr
