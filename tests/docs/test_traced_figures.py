"""Every figure that README and docs report is in a results file that a command wrote, so that none can drift.

A figure in prose names the cell that it was taken from, in a comment behind its paragraph or item: `docs/_figures.py`
says how, and finds cells for who writes.  A table names its source in a comment above it:

    <!-- figures: badmerging lineage; derived: 2.5; given: 20 28 1.1; apart: 4 -->

Each number in it is then one of benchmarks/results/badmerging.* or lineage.*, rounded; or derived from such, a ratio or
a difference; or given: a setting, a size, a figure that somebody else published.  A long file of results holds nearly
every number of two digits somewhere, so the figures of one row of a table must also stand in one line of the results,
or in as many adjacent ones as ``apart`` says.
What looks like a measurement and names no source fails; ``<!-- given -->`` says that nothing here was measured by us.
"""

import functools
import re
import sys
from bisect import bisect_left
from pathlib import Path
from typing import NamedTuple

import pytest

from how_to import ROOT

sys.path.insert(0, str(ROOT / "docs"))

from _figures import CODE, NUMBER, RESULTS, Segment, agrees, bare, figures, resolve, segments, value, wrong

#: Pages that are written by a program, which has a test of its own.
GENERATED = {"errors.md", "families.md", "methods.md", "protections.md"}
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.name not in GENERATED]
_MARK = re.compile(
    r"<!-- given -->|"
    r"<!-- figures: (?P<names>[\w ]+)(?:; derived: (?P<derived>[^;]+))?(?:; given: (?P<given>[^;]+))?"
    r"(?:; apart: (?P<apart>\d+))? -->"
)
#: What tells a measurement: a unit of one behind a number, or a share written with two digits or more.
_MEASURED = re.compile(
    r"\d ?%|\d (?:points|seconds|minutes|s|ms|x|MB|MiB|GB|GiB)\b(?! \d)|(?<![\d.])(?:0|1)?\.\d\d+\b(?!\.\d)"
)


class Passage(NamedTuple):
    page: Path
    text: str
    names: tuple[str, ...]
    given: list[str] | None
    apart: int = 1

    @property
    def where(self) -> str:
        return f"{self.page.name}: {' '.join(self.text.split())[:80]}"


def _passages(page: Path) -> list[Passage]:
    """Cut a page at blank lines; a mark belongs to the passage below it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: list[Passage] = []
    mark = None
    for part in re.split(r"\n[ \t]*\n", text):
        if (marked := _MARK.fullmatch(part.strip())) is not None:
            mark = marked
        if re.fullmatch(r"<!--.*-->", part.strip()):
            continue
        words = {name: (value or "").split() for name, value in (mark.groupdict() if mark else {}).items()}
        apart = int(next(iter(words.get("apart", ())), 1))
        allowed = words["derived"] + words["given"] if mark else None
        found.append(Passage(page, part, tuple(words.get("names", ())), allowed, apart))
        mark = None
    return found


@functools.cache
def _lines(name: str) -> tuple[list[float], ...]:
    """Return the sorted numbers of every line of a results file, shares also in per cent."""
    files = sorted(RESULTS.glob(f"{name}.*"))
    assert files, f"there is no benchmarks/results/{name}"
    found = []
    for line in "\n".join(file.read_text(encoding="utf-8") for file in files).splitlines():
        numbers = {value(word) for word in re.findall(r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e-?\d+)?", line)}
        found.append(sorted(numbers | {100 * one for one in numbers if 0 < abs(one) <= 1}))
    return tuple(found)


@functools.cache
def _measured(name: str) -> list[float]:
    """Return every number of a results file, sorted."""
    return sorted(set().union(*_lines(name)))


def _is_among(word: str, numbers: list[float]) -> bool:
    digits = len(word.split("e")[0].partition(".")[2])
    half = 0.5 * 10.0**-digits if "e" not in word else abs(value(word)) * 0.1
    place = bisect_left(numbers, value(word) - half * 1.0001)
    return place < len(numbers) and numbers[place] <= value(word) + half * 1.0001


def _stands_in(word: str, names: tuple[str, ...]) -> bool:
    return any(_is_among(word, _measured(name)) for name in names)


def _stand_together(words: list[str], lines: tuple[list[float], ...], apart: int) -> bool:
    """Say whether all words stand in one run of ``apart`` lines on either side of one that holds the first."""
    places = [[i for i, numbers in enumerate(lines) if _is_among(word, numbers)] for word in words]
    return any(all(any(abs(i - first) < apart for i in place) for place in places) for first in places[0])


def _rows(passage: Passage) -> list[tuple[str, list[str]]]:
    """Return the rows of the tables of a passage, and the figures of each that are not given."""
    rows = [CODE.sub(" ", row) for row in passage.text.splitlines() if row.startswith("|")]
    words = [[word.rstrip(",") for word in NUMBER.findall(row)] for row in rows]
    return [(row, [w for w in some if w not in (passage.given or ())]) for row, some in zip(rows, words, strict=True)]


def _scattered(passage: Passage) -> list[str]:
    """Return the rows of the tables of a passage whose figures do not stand together in the results."""
    return [
        row
        for row, words in _rows(passage)
        if words and not any(_stand_together(words, _lines(name), passage.apart) for name in passage.names)
    ]


def _untraced(passage: Passage) -> list[str]:
    """Return the figures of the tables of a passage that stand nowhere in the results."""
    return [word for _, words in _rows(passage) for word in words if not _stands_in(word, passage.names)]


def _prose(passage: Passage) -> list[Segment]:
    """Return the parts of a passage whose figures must name their cells: where one does, or reports a measurement."""
    reports = passage.given is None and _MEASURED.search(bare(passage.text)) is not None
    bound = any(one.sources is not None for one in segments(passage.text))
    return segments(passage.text) if bound or passage.names or reports else []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_figure_is_in_a_results_file(page: Path) -> None:
    faults = []
    for passage in _passages(page):
        faults += [f"{passage.where}: {fault}" for one in _prose(passage) for fault in wrong(one)]
        if passage.names:
            faults += [f"{passage.where}: not in {passage.names}: {word}" for word in _untraced(passage)]
            faults += [
                f"{passage.where}: not in {passage.apart} lines of one of {passage.names}: {row}"
                for row in _scattered(passage)
            ]
        elif passage.given is None and any(_MEASURED.search(row) for row, _ in _rows(passage)):
            faults.append(f"{passage.where}: names no source")
    assert not faults, "\n".join(faults)


def test_a_figure_in_prose_that_is_altered_by_a_digit_is_seen() -> None:
    bound = [one for page in PAGES for passage in _passages(page) for one in _prose(passage)]
    altered, seen = 0, 0
    for one in bound:
        words = [found[0].rstrip(",") for found in figures(one.text)]
        said = resolve(one.sources)
        for word, source in zip(words, said, strict=True):
            digits = [place for place, letter in enumerate(word.partition("e")[0]) if letter.isdigit()]
            others = [f"{word[:at]}{(int(word[at]) + 1) % 10}{word[at + 1 :]}" for at in digits]
            altered += len(others)
            seen += sum(not agrees(other, source) for other in others)
    assert altered > 800 and seen >= 0.995 * altered, f"{seen} of {altered}"


def test_a_cell_that_drifts_and_a_figure_that_names_none_are_seen() -> None:
    cell = "uploads | seen of 20 | ours"
    assert not wrong(Segment("Ours sees 20.", cell))
    assert wrong(Segment("Ours sees 10.", cell)) and wrong(Segment("Ours sees 20 of 20.", cell))
    assert wrong(Segment("Ours sees 20.", None)) and wrong(Segment("Ours sees 20.", "uploads | seen of 20 | theirs"))
    assert wrong(Segment("Ours sees 20.", "uploads | honest | value")), "several rows have the word"
    assert wrong(Segment("Ours sees 20.", "no_such_file | seen | ours"))


def test_a_row_that_drifts_is_seen_though_a_file_holds_each_of_its_numbers_somewhere() -> None:
    rows = [line for line in (RESULTS / "uploads.md").read_text(encoding="utf-8").splitlines() if "| **" in line]
    assert rows, "the row of sums"
    row = rows[0].replace("*", "")
    words = NUMBER.findall(row)
    assert not _scattered(Passage(ROOT / "README.md", row, ("uploads",), None))
    others = [f"{one:g}" for one in _measured("uploads") if not _is_among(f"{one:g}", _lines("uploads")[0])]
    drifted = next(
        row.replace(words[-1], one)
        for one in others
        if _scattered(Passage(ROOT, row.replace(words[-1], one), ("uploads",), None))
    )
    assert not _untraced(Passage(ROOT / "README.md", drifted, ("uploads",), None)), "each number stands somewhere"


@pytest.mark.parametrize("names", [("startup",), ()])
def test_a_figure_that_drifts_is_seen(names) -> None:
    in_prose = Passage(ROOT / "README.md", "A merge takes 123.45 s.", names, None)
    in_a_table = Passage(ROOT / "README.md", "| a merge | 123.45 s |", names, None)
    assert [wrong(one) for one in _prose(in_prose)] == [["['123.45'] name no cell"]]
    assert _untraced(in_a_table) == ["123.45"] and _MEASURED.search(in_a_table.text)
