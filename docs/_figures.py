"""Which cell of a results file each figure in prose is: read, checked, and looked for when one is written.

A paragraph or an item of a list that reports a measurement ends with a comment that names, in the order of its figures,
the cell that each was taken from:

    Under TIES 31 % is left (29 to 33), two points above the 900 steps of the other base.
    <!-- is: badmerging | BadNets, 10 % poisoned | TIES; badnets | 1200 steps | TIES#2; TIES#3; given 900 -->

A cell is FILE | ROW | COLUMN: a file of benchmarks/results, `x` for x.md or `x.jsonl`; words that one row of it alone
has (heading and text above it count, whole cells count most), with & between those of several cells; and the head of
the column, or the end of the dotted name of a field in JSON.  TIES#2 is the second number of that cell, #2 alone the
second of a line that is no table.  What is left out is as before.  A figure may be one cell minus or divided by
another, or the sum() over all rows that have the words.  `given 900` is no measurement of ours: a setting,
a goal, what somebody else published.  To find cells: `python docs/_figures.py PAGE.md`.
"""

import functools
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
NUMBER = re.compile(r"(?<![\w.,/#-])[+-]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e-?\d+)?(?![\w/-]|[.,]\d)")
CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|arXiv \d{4}\.\d{5}|https?://\S+|<!--.*?-->", re.DOTALL)
IS = re.compile(r"<!-- is: (.*?) -->", re.DOTALL)
_IN_RESULTS = re.compile(r"(?<![\w.])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e-?\d+)?")


class Unclear(ValueError):
    """A reference that names no cell, or several."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a results file: its words, whole and in one text, and what stands under which head."""

    words: tuple[str, ...]
    text: str
    columns: dict[str, str] = field(default_factory=dict)


class Segment(NamedTuple):
    """Prose up to a comment that binds its figures, or to the end of the passage."""

    text: str
    sources: str | None


def value(word: str) -> float:
    """Return the value of a written number."""
    return float(word.replace(",", "").lstrip("+"))


def figures(text: str) -> list[re.Match[str]]:
    """Return the numbers of a text outside of tables, code, links and comments."""
    return list(NUMBER.finditer(bare(text)))


def bare(text: str) -> str:
    """Return the prose of a text, without tables, code, links and comments."""
    return "\n".join("" if line.lstrip().startswith("|") else line for line in CODE.sub(" ", text).splitlines())


def segments(passage: str) -> list[Segment]:
    """Cut a passage behind each comment that binds figures."""
    parts = IS.split(passage)
    cut = [Segment(text, parts[2 * i + 1] if 2 * i + 1 < len(parts) else None) for i, text in enumerate(parts[::2])]
    return [one for one in cut if one.sources is not None or figures(one.text)]


@functools.cache
def lines(name: str) -> tuple[Line, ...]:
    """Return the lines of a results file; Unclear where there is none."""
    path = RESULTS / (name if name.endswith(".jsonl") else f"{name}.md")
    if not path.exists():
        raise Unclear(f"there is no benchmarks/results/{path.name}")
    text = path.read_text(encoding="utf-8")
    return tuple(_of_json(text) if path.suffix == ".jsonl" else _of_markdown(text))


def _of_markdown(text: str) -> Iterator[Line]:
    above, caption, head = "", "", None
    for line in (" ".join(line.split()) for line in re.sub("[*`]", "", text).splitlines()):
        if not line.startswith("|"):
            above = line.lstrip("# ") if line.startswith("#") else above
            caption, head = line.strip() or caption, None
            yield Line(words=(), text=line)
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if head is None:
            head = cells
        elif set(line) - set("|-: "):
            columns = dict(zip(head, cells, strict=False))
            yield Line(words=(*cells, above, caption), text="|".join((above, caption, *cells)), columns=columns)


def _of_json(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        columns = dict(_leaves(json.loads(line)))
        words = tuple(str(one) for name, one in columns.items() if isinstance(one, str) or name.startswith("key."))
        yield Line(words=words, text="|".join(words), columns={name: str(one) for name, one in columns.items()})


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if below is None:
        yield name, value
    for key, one in below or ():
        yield from _leaves(one, f"{name}.{key}" if name else str(key))


def numbers_at(name: str, row: str, column: str) -> list[float]:
    """Return the number in a column of every row that has the words."""
    head, _, place = column.partition("#")
    parts, index = [part.strip() for part in row.split("&")], int(place or 1) - 1
    cells = [(line, cell) for line in lines(name) if (cell := _cell(line, head.strip())) is not None]
    found = [(line, cell) for line, cell in cells if all(part in line.words or part in line.text for part in parts)]
    whole = [sum(part in line.words for part in parts) for line, _ in found]
    best = [cell for (_, cell), count in zip(found, whole, strict=True) if count == max(whole)]
    numbers = [found for cell in best if len(found := _IN_RESULTS.findall(cell)) > index]
    return [value(found[index]) for found in numbers]


def _cell(line: Line, head: str) -> str | None:
    if not head:
        return None if line.columns else line.text
    ends = [cell for name, cell in line.columns.items() if name.endswith(f".{head}")]
    return line.columns.get(head, ends[0] if len(ends) == 1 else None)


def resolve(sources: str) -> list[str | float]:
    """Return what each source says, in order: what is given as a text, a cell as a number; Unclear where it is none."""
    before = ["", "", ""]

    def one(text: str) -> float:
        if (rows := re.fullmatch(r"sum\((.*)\)", text)) is not None:
            return sum(read(rows[1]))
        found = read(text)
        if len(set(found)) > 1:
            raise Unclear(f"{' | '.join(before)} is {len(found)} cells: {found[:4]}")
        return found[0]

    def read(text: str) -> list[float]:
        parts = text.split(" | ")
        before[-len(parts) :] = parts
        found = numbers_at(*before)
        if not found:
            raise Unclear(f"{' | '.join(before)} is no cell with a number")
        return found

    said: list[str | float] = []
    for source in " ".join(sources.split()).split("; "):
        if source.startswith("given "):
            said += source.split()[1:]
        elif len(ends := source.split(" divided by ")) == 2:
            said.append(one(ends[0]) / one(ends[1]))
        elif len(ends := source.split(" minus ")) == 2:
            said.append(one(ends[0]) - one(ends[1]))
        else:
            said.append(one(source))
    return said


def agrees(word: str, said: str | float) -> bool:
    """Say whether a written figure is what its source says, rounded; shares also in per cent."""
    if isinstance(said, str):
        return word == said
    number, _, power = word.lstrip("+").partition("e")
    decimals = len(number.partition(".")[2])
    half = 0.50001 * 10.0 ** (int(power or 0) - decimals)
    scales = [scale for scale in (1, 100) if decimals or not 0 < abs(said * scale) < 0.5]
    scales += [0.01] if decimals > 1 and abs(said) > 1 else []
    return any(abs(value(word) - said * scale) <= half for scale in scales)


def wrong(segment: Segment) -> list[str]:
    """Return what is wrong with the figures of a segment, a line each."""
    words = [found[0].rstrip(",") for found in figures(segment.text)]
    if segment.sources is None:
        return [f"{words} name no cell"]
    try:
        said = resolve(segment.sources)
    except Unclear as unclear:
        return [str(unclear)]
    if len(words) != len(said):
        return [f"{len(words)} figures {words}, {len(said)} sources {said}"]
    return [f"{word} is {one}" for word, one in zip(words, said, strict=True) if not agrees(word, one)]


def places(word: str, name: str, near: str) -> list[str]:
    """Return the cells of a file that a figure may be, those first whose words stand near it."""
    heard = set(re.findall(r"\w\w+", near.lower()))
    found: dict[str, int] = {}
    for line in lines(name):
        row = " & ".join(one for one in line.words if one and not NUMBER.search(one)) or line.text[:60]
        for head, cell in (line.columns or {"": line.text}).items():
            for place, number in enumerate(_IN_RESULTS.findall(cell), 1):
                if agrees(word, value(number)):
                    text = f"{name} | {row} | {head}{f'#{place}' if place > 1 or not head else ''}"
                    found[text] = len(heard & set(re.findall(r"\w\w+", text.lower())))
    return sorted(found, key=lambda text: -found[text])


def main(pages: list[str]) -> None:
    """Print the figures of pages that name no cell, and cells of the files that the page speaks of."""
    for page in pages:
        text = Path(page).read_text(encoding="utf-8")
        names = [name for name in sorted(path.stem for path in RESULTS.glob("*.md")) if re.search(rf"\b{name}\b", text)]
        for passage in re.split(r"\n[ \t]*\n", text):
            for one in [segment for segment in segments(passage) if segment.sources is None]:
                for found in figures(one.text):
                    near = bare(one.text)[max(0, found.start() - 80) : found.end() + 80]
                    print(f"{found[0]} in: {' '.join(near.split())}")
                    print(
                        "".join(
                            f"  {cell}\n" for name in names for cell in places(found[0].rstrip(","), name, near)[:2]
                        )
                    )


if __name__ == "__main__":
    main(sys.argv[1:])
