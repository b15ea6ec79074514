"""The table of families is what the tables say."""

import runpy
from pathlib import Path

from mergebarrier.arch import FAMILIES

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_families_is_current() -> None:
    page = (DOCS / "families.md").read_text(encoding="utf-8")
    render = runpy.run_path(str(DOCS / "_generate_families.py"))["render"]
    assert render(page) == page, "run `python docs/_generate_families.py`"
    assert f"Models of {len(FAMILIES)} families" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert "| deepseek | `DeepseekV3ForCausalLM`" in page
