"""docs/methods.md is what the declarations of the methods say today."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_current() -> None:
    page = runpy.run_path(str(DOCS / "_generate_methods.py"))
    written = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert written == page["render"](), "run python docs/_generate_methods.py"
