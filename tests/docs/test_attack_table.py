"""The table of attacks in docs/backdoors.md is what they declare."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_attacks_is_current() -> None:
    page = (DOCS / "backdoors.md").read_text(encoding="utf-8")
    render = runpy.run_path(str(DOCS / "_generate_attacks.py"))["render"]
    assert render(page) == page, "run `python docs/_generate_attacks.py`"
    assert "| `badmerging` |" in page
