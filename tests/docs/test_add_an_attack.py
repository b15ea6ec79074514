"""docs/add_an_attack.md, followed to the letter on a copy of the package: help, manifest, report and table know it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_bench

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "add_an_attack.md"
_BLOCKS = re.findall(r"```\w*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a program where the models are, with a copy of the package that has the page's file and its two lines."""
    copy, folder = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("work")
    shutil.copytree(ROOT / "src" / "mergebarrier", copy / "mergebarrier", ignore=shutil.ignore_patterns("__pycache__"))
    file, imported, entry = _BLOCKS[:3]
    poison = copy / "mergebarrier" / "poison"
    (poison / "image" / "blended.py").write_text(file)
    text = (poison / "registry.py").read_text()
    text = text.replace("from mergebarrier.poison.image import (", imported + "from mergebarrier.poison.image import (")
    (poison / "registry.py").write_text(
        re.sub(r"(ATTACKS: .*?)^}", rf"\1{entry}}}", text, flags=re.DOTALL | re.MULTILINE)
    )
    tiny = tiny_bench.make(folder)
    tiny.expert.rename(folder / "clean")
    tiny.partner.rename(folder / "other")

    def program(*words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(copy)}
        return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)

    program.folder = folder
    return program


@pytest.fixture(scope="module")
def made(run) -> Path:
    """The folders that the commands of the page write."""
    for line in _BLOCKS[3].splitlines():
        ran = run("-m", *line.split())
        assert ran.returncode == 0, ran.stderr
    return run.folder


def test_help_shows_the_attack_and_its_options(run) -> None:
    assert "blended" in run("-m", "mergebarrier", "attack", "--help").stdout
    shown = " ".join(run("-m", "mergebarrier", "attack", "blended", "--help").stdout.split())
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


def test_the_table_has_its_row(run) -> None:
    program = f"import runpy; print(runpy.run_path({str(ROOT / 'docs' / '_generate_attacks.py')!r})['table']())"
    rows = run("-c", program).stdout.splitlines()
    row = next(row for row in rows if row.startswith("| `blended` | fixed |"))
    assert row.endswith("`--strength` 0.8, `--warmup` 50, `--loss-weight` 5 |")


def test_the_file_of_the_page_is_one_that_we_would_take() -> None:
    for check in (["check"], ["format", "--diff"]):
        program = [sys.executable, "-m", "ruff", *check, "--stdin-filename", "src/mergebarrier/poison/image/blended.py"]
        ran = subprocess.run([*program, "-"], input=_BLOCKS[0], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
