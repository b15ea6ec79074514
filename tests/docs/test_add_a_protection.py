"""docs/add_a_protection.md, followed to the letter on a copy of the package; docs/protections.md, current."""

import json
import re
import subprocess
import sys

import pytest

import tiny_models
from how_to import ROOT, Addition, Followed

PAGE = Addition(page="add_a_protection", file="protect/gain.py", registry="protect/registry.py", name="PROTECTIONS")


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Followed:
    """A copy to which the page was applied, and a folder with a model."""
    folder = tmp_path_factory.mktemp("work")
    tiny_models.save("qwen2", folder / "MODEL")
    return PAGE.followed(tmp_path_factory.mktemp("copy"), folder)


def test_the_page_adds_a_protection_that_goes_there_and_back(followed) -> None:
    protect, unprotect, inspect = PAGE.blocks[3].splitlines()
    said = followed.typed(f"{protect}\n{unprotect}\n{inspect}")
    assert "protected by gain (values times 8)" in said and "comparing norms" in said and "method gain" in said
    there, back = (
        json.loads((followed.folder / name / "mergebarrier.json").read_text())["content"] for name in ("OUT", "BACK")
    )
    exact = {"power": 3, "reversibility": "exact", "determinism": "exact"}
    assert there["method"] == "gain" and there["parameters"] == exact
    assert back["output"]["content_digest"] == there["inputs"][0]["content_digest"]
    assert back["output"]["content_digest"] != there["output"]["content_digest"]


def test_a_new_protection_is_in_help_report_and_documents(followed) -> None:
    shown = " ".join(followed.python("-m", "mergebarrier", "protect", "--help").split())
    assert re.search(r"\[[a-z0-9_|]*\bgain\b[a-z0-9_|]*\]", shown)
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
    assert "Limit of gain: One small number is the whole secret" in followed.python("-c", report)
    followed.python(str(followed.copy / "docs" / "_generate_protections.py"))
    page = (followed.copy / "docs" / "protections.md").read_text()
    assert "## gain" in page and "| `--power` | Power of two that values are multiplied by. |" in page
    assert "One small number is the whole secret" in page and "## exact" in page


@pytest.mark.slow
def test_a_new_protection_is_tested_by_being_there(followed) -> None:
    _, module, runner, laws, by, name = PAGE.blocks[4].split()
    some = f"{name} and (default or outside or promises and gqa)"
    said = followed.python(module, runner, "-q", "--rootdir", str(ROOT), str(ROOT / laws), by, some)
    assert " passed" in said and "deselected" in said


def test_the_file_of_the_page_is_one_that_we_would_take() -> None:
    PAGE.check_style()


def test_the_page_of_protections_is_what_they_declare() -> None:
    program = "import _generate_protections as page; assert page.PAGE.read_text() == page.render()"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT / "docs", capture_output=True, text=True)
    assert ran.returncode == 0, "run python docs/_generate_protections.py\n" + ran.stderr
