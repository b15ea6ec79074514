"""Fill in what the benches of protections measured, between the marks of the pages that show it; a test fails else.

<!-- measured: language none; exact | linear; aga -->          rows | columns of the language bench
<!-- measured: costs none; exact -->                           its seconds and sizes
<!-- measured: images dino | weight average | none; exact -->  size | merge | rows of the image bench
<!-- measured: published dino | weight average -->             what others report, beside ours
<!-- measured: table text_protected | 1 -->                    the first table of a results file, as it is
<!-- end of what is measured -->
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import _protection_tables as tables

DOCS = Path(__file__).parent
MEAN = re.compile(r"\d+\.\d+")
BLOCK = re.compile(r"(<!-- measured: (\w+) ([^>]*?) -->\n\n)(.*?)(<!-- end of what is measured -->)", re.DOTALL)


def of_results(name: str, number: int) -> str:
    """Return one of the tables of a results file."""
    text = (DOCS.parent / "benchmarks" / "results" / f"{name}.md").read_text(encoding="utf-8")
    return re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)[number - 1].rstrip("\n")


def block(kind: str, rest: str) -> str:
    """Return the table that a mark asks for."""
    language, images = tables.Table("protections"), tables.Table("vision_protections")
    parts = [[word.strip() for word in part.split(";")] for part in rest.split("|")]
    names = parts[-1 if kind == "images" else 0]
    if kind == "table":
        return of_results(names[0], int(parts[1][0]))
    if kind == "language":
        return tables.language(language, names, parts[1])
    if kind == "costs":
        return tables.costs(language, names)
    if kind == "images":
        return tables.images(images, parts[0][0], parts[1][0], names)
    return tables.published(language, images, parts[0][0], parts[1][0])


def render(page: str) -> str:
    """Return a page with the tables that its marks ask for."""

    def filled(found: re.Match[str]) -> str:
        table, given = block(found[2], found[3]), ""
        if found[2] == "published":
            words = sorted({word for one in tables.PUBLISHED for word in one.figures} - {"-"})
            given = f"; given: {' '.join(words)} .2 1 10"
        means = " ".join(sorted(set(re.findall(MEAN, table))))  # over keys, which stand in no row
        if found[2] == "table":
            return f"{found[1]}<!-- figures: {found[3].split('|')[0].strip()} -->\n\n{table}\n\n{found[5]}"
        mark = f"<!-- figures: protections vision_protections; derived: {means}{given} -->"
        return f"{found[1]}{mark}\n\n{table}\n\n{found[5]}"

    return BLOCK.sub(filled, page)


if __name__ == "__main__":
    for path in sorted(DOCS.glob("*.md")):
        path.write_text(render(path.read_text(encoding="utf-8")), encoding="utf-8")
