"""docs/add_an_attack.md, followed to the letter on a copy of the package: help, manifest, report and table know it."""

import json
from pathlib import Path

import pytest

import tiny_bench
from how_to import Addition, Followed

PAGE = Addition(page="add_an_attack", file="poison/blended.py", registry="poison/registry.py", name="ATTACKS")


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Followed:
    """A copy to which the page was applied, and a folder with the models of its commands."""
    folder = tmp_path_factory.mktemp("work")
    tiny = tiny_bench.make(folder)
    tiny.expert.rename(folder / "clean")
    tiny.partner.rename(folder / "other")
    return PAGE.followed(tmp_path_factory.mktemp("copy"), folder)


@pytest.fixture(scope="module")
def made(followed) -> Path:
    """The folders that the commands of the page write."""
    followed.typed(PAGE.blocks[3])
    return followed.folder


def test_help_shows_the_attack_and_its_options(followed) -> None:
    assert "blended" in followed.typed("mergebarrier attack --help")
    shown = " ".join(followed.typed("mergebarrier attack blended --help").split())
    for words in ("--strength", "--warmup", "--loss-weight", "Share of the patch at the end (a number above 0"):
        assert words in shown


def test_the_manifest_and_the_report_name_the_attack_and_its_values(made) -> None:
    content = json.loads((made / "bad" / "mergebarrier.json").read_text())["content"]
    assert content["method"] == "blended" and content["attack-artifact"] is True
    wanted = {"trigger": "fixed", "strength": 0.5, "warmup": 50, "loss_weight": 5.0}
    assert wanted.items() <= content["parameters"].items()
    result = json.loads((made / "report" / "result.json").read_text())
    assert result["attack"] == "blended"
    assert {"strength": 0.5, "warmup": 50}.items() <= result["attack_parameters"].items()
    assert "blended" in (made / "report" / "report.html").read_text()


def test_the_table_has_its_row(followed) -> None:
    program = (
        f"import runpy; print(runpy.run_path({str(followed.copy / 'docs' / '_generate_attacks.py')!r})['table']())"
    )
    rows = followed.python("-c", program).splitlines()
    row = next(row for row in rows if row.startswith("| `blended` | fixed |"))
    assert row.endswith("`--strength` 0.8, `--warmup` 50, `--loss-weight` 5 |")


def test_the_file_of_the_page_is_one_that_we_would_take() -> None:
    PAGE.check_style()
