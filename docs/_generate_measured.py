"""Fill in what benches measured, between the marks of the pages that show it; a test fails else.

<!-- measured: table text_protected | 1 -->                    the first table of a results file, as it is
<!-- measured: table trained | 1 3 | columns: protection; grid; 3: alone | rows: arf; trap2 = Trap^2 -->
<!-- measured: language none; exact | linear; aga -->          rows | columns of the language bench
<!-- measured: costs none; exact -->                           its seconds and sizes
<!-- measured: images dino | weight average | none; exact -->  size | merge | rows of the image bench
<!-- measured: published dino | weight average -->             what others report, beside ours
<!-- end of what is measured -->

Columns and rows of a results file come in the order in which they are asked for; behind ` = ` stands their name on the
page.  A row is named by whole cells of it, with & between several, and every row that has them is taken.  Where several
tables are named, rows with the same first cell are one row, and `3: alone` is the column `alone` of the third.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import _protection_tables as tables

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(<!-- measured: (\w+) ([^>]*?) -->)(.*?)(<!-- end of what is measured -->)", re.DOTALL)


def of_results(name: str, numbers: str, *asked: str) -> str:
    """Return what is asked for of one or several tables of a results file; ValueError where it is not there."""
    first, *others = numbers.split()
    heads, *lines = _cells(name, first)
    for number in others:
        more = {line[0]: line[1:] for line in _cells(name, number)}
        added = more.pop(heads[0])
        heads = heads + [f"{number}: {head}" for head in added]
        lines = [line + more.get(line[0], [""] * len(added)) for line in lines]
    parts = dict(part.split(": ", 1) for part in asked)
    columns = _named(parts["columns"]) if "columns" in parts else [(head, head) for head in heads]
    if missing := [head for head, _ in columns if head not in heads]:
        raise ValueError(f"results/{name}.md, table {numbers}: no column {missing} among {heads}")
    rows = []
    for words, title in _named(parts["rows"]) if "rows" in parts else [("", "")]:
        found = [line for line in lines if not words or set(words.split(" & ")) <= set(line)]
        if not found:
            raise ValueError(f"results/{name}.md, table {numbers}: no row {words!r}")
        chosen = [[line[heads.index(head)] for head, _ in columns] for line in found]
        rows += [[title if title != words else line[0], *line[1:]] for line in chosen]
    return tables.markdown([title for _, title in columns], rows)


def _cells(name: str, number: str) -> list[list[str]]:
    text = (tables.RESULTS / f"{name}.md").read_text(encoding="utf-8")
    head, _, *rows = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)[int(number) - 1].splitlines()
    return [[cell.strip() for cell in row.strip()[1:-1].split("|")] for row in (head, *rows)]


def _named(asked: str) -> list[tuple[str, str]]:
    """Return what is asked for, and its name on the page."""
    pairs = [one.strip().partition(" = ") for one in asked.split(";")]
    return [(there, here or re.sub(r"^\d+: ", "", there)) for there, _, here in pairs]


def block(kind: str, rest: str) -> str:
    """Return the table that a mark asks for."""
    parts = [part.strip() for part in " ".join(rest.split()).split("|")]
    if kind == "table":
        return of_results(*parts)
    language, images = tables.Table("protections"), tables.Table("vision_protections")
    names = [name.strip() for name in parts[-1 if kind == "images" else 0].split(";")]
    if kind == "language":
        return tables.language(language, names, [column.strip() for column in parts[1].split(";")])
    if kind == "costs":
        return tables.costs(language, names)
    if kind == "images":
        return tables.images(images, parts[0], parts[1], names)
    return tables.published(language, images, parts[0], parts[1])


def render(page: str) -> str:
    """Return a page with the tables that its marks ask for."""
    return BLOCK.sub(lambda found: f"{found[1]}\n\n{block(found[2], found[3])}\n\n{found[5]}", page)


if __name__ == "__main__":
    for path in (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))):
        path.write_text(render(path.read_text(encoding="utf-8")), encoding="utf-8")
