"""The pages about Python do what they show: every block of docs/python.md in order, the README's lines, the example."""

import os
import re
import runpy
from pathlib import Path

import pytest

import tiny_world

ROOT = Path(__file__).parents[2]


def _blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tiny_world.World:
    return tiny_world.make(tmp_path_factory.mktemp("world"))


@pytest.fixture
def place(trained, tmp_path) -> Path:
    """A folder as the pages say: base, ours, partner, and a task of each."""
    for name, target in {
        "base": trained.base,
        "ours": trained.original,
        "partner": trained.partner,
        "ours.jsonl": trained.task,
        "partner.jsonl": trained.partner_task,
    }.items():
        (tmp_path / name).symlink_to(target)
    return tmp_path


@pytest.mark.parametrize("page", ["docs/python.md", "README.md"])
def test_every_block_runs_in_the_order_of_the_page(page: str, place, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    blocks, names = _blocks(page), {}
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)


def test_the_example_protects_merges_audits_and_draws(place, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TWO_TASKS", str(place))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    runpy.run_path(str(ROOT / "examples" / "two_tasks.py"), run_name="__main__")
    assert (place / "two_tasks" / "two_tasks.png").stat().st_size > 10_000
    shown = capsys.readouterr().out
    assert "not cryptographic" in shown and "unprotected" in shown and "gaugefix" in shown
    assert os.path.isfile(place / "two_tasks" / "report" / "report.html")
