"""Every figure that README and docs report is in a results file that a command wrote, so that none can drift.

A paragraph, list or table that reports a measurement names its source in a comment above it:

    <!-- figures: badmerging lineage; derived: 2.5; given: 20 28 1.1; apart: 4 -->

Each number in it is then one of benchmarks/results/badmerging.* or lineage.*, rounded; or derived from such, a ratio or
a difference; or given: a setting, a size, a figure that somebody else published.  A long file of results holds nearly
every number of two digits somewhere, so the figures of one row of a table must also stand in one line of the results,
or in as many adjacent ones as ``apart`` says.
What looks like a measurement and names no source fails; ``<!-- given -->`` says that nothing here was measured by us.
"""

import functools
import re
from bisect import bisect_left
from pathlib import Path
from typing import NamedTuple

import pytest

from how_to import ROOT

RESULTS = ROOT / "benchmarks" / "results"
#: Pages that are written by a program, which has a test of its own.
GENERATED = {"errors.md", "families.md", "methods.md", "protections.md"}
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.name not in GENERATED]
_MARK = re.compile(
    r"<!-- given -->|"
    r"<!-- figures: (?P<names>[\w ]+)(?:; derived: (?P<derived>[^;]+))?(?:; given: (?P<given>[^;]+))?"
    r"(?:; apart: (?P<apart>\d+))? -->"
)
_CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|arXiv \d{4}\.\d{5}|https?://\S+", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.,/#-])[+-]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e-?\d+)?(?![\w/-]|[.,]\d)")
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
        found.append(Passage(page, _CODE.sub(" ", part), tuple(words.get("names", ())), allowed, apart))
        mark = None
    return found


def _value(word: str) -> float:
    return float(word.replace(",", "").lstrip("+"))


@functools.cache
def _lines(name: str) -> tuple[list[float], ...]:
    """Return the sorted numbers of every line of a results file, shares also in per cent."""
    files = sorted(RESULTS.glob(f"{name}.*"))
    assert files, f"there is no benchmarks/results/{name}"
    found = []
    for line in "\n".join(file.read_text(encoding="utf-8") for file in files).splitlines():
        numbers = {_value(word) for word in re.findall(r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e-?\d+)?", line)}
        found.append(sorted(numbers | {100 * one for one in numbers if 0 < abs(one) <= 1}))
    return tuple(found)


@functools.cache
def _measured(name: str) -> list[float]:
    """Return every number of a results file, sorted."""
    return sorted(set().union(*_lines(name)))


def _is_among(word: str, numbers: list[float]) -> bool:
    digits = len(word.split("e")[0].partition(".")[2])
    half = 0.5 * 10.0**-digits if "e" not in word else abs(_value(word)) * 0.1
    place = bisect_left(numbers, _value(word) - half * 1.0001)
    return place < len(numbers) and numbers[place] <= _value(word) + half * 1.0001


def _stands_in(word: str, names: tuple[str, ...]) -> bool:
    return any(_is_among(word, _measured(name)) for name in names)


def _stand_together(words: list[str], lines: tuple[list[float], ...], apart: int) -> bool:
    """Say whether all words stand in one run of ``apart`` lines on either side of one that holds the first."""
    places = [[i for i, numbers in enumerate(lines) if _is_among(word, numbers)] for word in words]
    return any(all(any(abs(i - first) < apart for i in place) for place in places) for first in places[0])


def _scattered(passage: Passage) -> list[str]:
    """Return the rows of the tables of a passage whose figures do not stand together in the results."""
    found = []
    for row in (line for line in passage.text.splitlines() if line.startswith("|")):
        words = [word.rstrip(",") for word in _NUMBER.findall(row)]
        words = [word for word in words if word not in (passage.given or ())]
        if words and not any(_stand_together(words, _lines(name), passage.apart) for name in passage.names):
            found.append(row)
    return found


def _untraced(passage: Passage) -> list[str]:
    words = [word.rstrip(",") for word in _NUMBER.findall(passage.text)]
    return [w for w in words if w not in (passage.given or ()) and not _stands_in(w, passage.names)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_figure_is_in_a_results_file(page: Path) -> None:
    wrong = []
    for passage in _passages(page):
        if passage.names:
            wrong += [
                f"{passage.where}: not in {passage.names}: {missing}" for missing in [_untraced(passage)] if missing
            ]
            wrong += [
                f"{passage.where}: not in {passage.apart} lines of one of {passage.names}: {row}"
                for row in _scattered(passage)
            ]
        elif passage.given is None and _MEASURED.search(passage.text):
            wrong.append(f"{passage.where}: names no source")
    assert not wrong, "\n".join(wrong)


def test_a_row_that_drifts_is_seen_though_a_file_holds_each_of_its_numbers_somewhere() -> None:
    rows = [line for line in (RESULTS / "uploads.md").read_text(encoding="utf-8").splitlines() if "| **" in line]
    assert rows, "the row of sums"
    row = rows[0].replace("*", "")
    words = _NUMBER.findall(row)
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
    drifted = Passage(ROOT / "README.md", "A merge takes 123.45 s.", names, None)
    assert _untraced(drifted) == ["123.45"] and _MEASURED.search(drifted.text)
