"""Write the tables of docs/families.md: what the families are, and what was measured of each; a test compares them."""

import re
from pathlib import Path

from mergebarrier.arch import FAMILIES, Family

README = Path(__file__).parents[1] / "README.md"
PAGE = Path(__file__).with_name("families.md")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
_BETWEEN = re.compile(r"(<!-- families:[^\n]*-->\n).*?(<!-- end of families -->)", re.DOTALL)
_MEASURED = re.compile(r"(<!-- measured:[^\n]* results/(\w+)\.md -->\n).*?(<!-- end of measured -->)", re.DOTALL)
_HEAD = (
    "| table | classes, beside those of the same body with a classifier or without a head | what moves | "
    "refused when set otherwise |\n|---|---|---|---|\n"
)
_WORDS = {
    "residual": "stream",
    "heads": "heads",
    "query_key": "queries and keys",
    "value_output": "values and outputs",
    "neurons": "neurons",
    "latents": "latents",
    "experts": "experts",
}


def table() -> str:
    """Return the table: a row for each family, in the order of the registry."""
    rows = []
    for name, family in FAMILIES.items():
        classes = ", ".join(f"`{one}`" for one in family.architectures)
        refused = ", ".join(f"`{key}`" for key in family.refused)
        rows.append(f"| {name} | {classes} | {_moving(family)} | {refused} |\n")
    return _HEAD + "".join(rows)


def _moving(family: Family) -> str:
    spaces = [axis.space for name, axis in family.axes.items() if family.acts(name)]
    return ", ".join(word for space, word in _WORDS.items() if space in spaces)


def render(page: str) -> str:
    """Return the page with the tables as they are now."""
    page = _MEASURED.sub(lambda marks: f"{marks[1]}\n{_measured(marks[2])}\n{marks[3]}", page)
    return _BETWEEN.sub(lambda marks: f"{marks[1]}\n{table()}\n{marks[2]}", page)


def _measured(name: str) -> str:
    return (RESULTS / f"{name}.md").read_text(encoding="utf-8").partition("\n\n")[2]


def counted(readme: str) -> str:
    """Return the README with the number of families as it is now."""
    return re.sub(r"Models of \d+ families", f"Models of {len(FAMILIES)} families", readme)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    README.write_text(counted(README.read_text(encoding="utf-8")), encoding="utf-8")
