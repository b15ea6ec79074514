"""The tables of protections on the pages are what their benches measured, and no row of a results file is torn."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
RESULTS = ("protections", "vision_protections")


def test_the_tables_of_protections_are_current() -> None:
    program = runpy.run_path(str(ROOT / "docs" / "_generate_measured.py"))
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    stale = [name for name, text in texts.items() if program["render"](text) != text]
    assert not stale, f"{stale}: run `python docs/_generate_measured.py`"
    marked = {name for name, text in texts.items() if program["BLOCK"].search(text)}
    assert {"measured.md", "mergebarrier.md", "mergelock.md", "params.md", "widen.md"} <= marked


def test_a_figure_that_moved_makes_a_page_stale() -> None:
    program = runpy.run_path(str(ROOT / "docs" / "_generate_measured.py"))
    text = (ROOT / "docs" / "widen.md").read_text(encoding="utf-8")
    assert program["render"](text.replace("0.97 / 0.93", "0.99 / 0.93")) == text != text.replace("24.98", "24.99")


@pytest.mark.parametrize("name", RESULTS)
def test_a_cell_of_a_bench_has_a_hundred_rows_and_stands_there_once(name: str) -> None:
    lines = (ROOT / "benchmarks" / "results" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len({json.dumps(row["key"]) for row in rows}) == len(rows)
    assert all(row["figures"].get("n", 100) >= 100 for row in rows)
