"""Every figure that README and docs report is in a results file that a command wrote, so that none can drift.

A figure in prose names the cell that it was taken from, in a comment behind its paragraph or item: `docs/_figures.py`
says how, and finds cells for who writes.  A table with a figure is taken by `docs/_generate_measured.py` from a file of
results, between marks, and a stale one fails.  Prose that looks like a measurement and names no cell fails, and so does
any other table with a figure; `<!-- given -->` above a passage says that nothing in it was measured by us.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from how_to import ROOT

sys.path.insert(0, str(ROOT / "docs"))

from _figures import CODE, NUMBER, Segment, agrees, bare, figures, resolve, segments, wrong
from _generate_measured import BLOCK, render

#: Pages that are written by a program, which has a test of its own.
GENERATED = {"errors.md", "families.md", "methods.md", "protections.md"}
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.name not in GENERATED]
#: What tells a measurement: a unit of one behind a number, or a share written with two digits or more.
_MEASURED = re.compile(
    r"\d ?%|\d (?:points|seconds|minutes|s|ms|x|MB|MiB|GB|GiB)\b(?! \d)|(?<![\d.])(?:0|1)?\.\d\d+\b(?!\.\d)"
)


class Passage(NamedTuple):
    text: str
    given: bool

    @property
    def prose(self) -> list[Segment]:
        """The parts whose figures must name their cells: where one does, or reports a measurement."""
        reports = not self.given and _MEASURED.search(bare(self.text)) is not None
        bound = any(one.sources is not None for one in segments(self.text))
        return segments(self.text) if bound or reports else []

    @property
    def rows(self) -> list[str]:
        """The rows of tables that hold a figure."""
        rows = [row for row in CODE.sub(" ", self.text).splitlines() if row.lstrip().startswith("|")]
        return [row for row in rows if NUMBER.search(row)]

    @property
    def faults(self) -> list[str]:
        """What is wrong with its figures, a line each."""
        found = [fault for one in self.prose for fault in wrong(one)]
        return found if self.given else [*found, *(f"taken from no results: {row}" for row in self.rows)]


def _passages(text: str) -> list[Passage]:
    """Cut a page at blank lines, without blocks of code and what is written from results."""
    text = re.sub(r"^```.*?^```", "", BLOCK.sub("(a table)", text), flags=re.MULTILINE | re.DOTALL)
    found: list[Passage] = []
    given = False
    for part in re.split(r"\n[ \t]*\n", text):
        if re.fullmatch(r"<!--.*-->", part.strip()):
            given = given or part.strip() == "<!-- given -->"
            continue
        found.append(Passage(part, given))
        given = False
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_figure_is_in_a_results_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert render(text) == text, "run `python docs/_generate_measured.py`"
    faults = [f"{' '.join(one.text.split())[:80]}: {fault}" for one in _passages(text) for fault in one.faults]
    assert not faults, "\n".join(faults)


def test_a_figure_in_prose_that_is_altered_by_a_digit_is_seen() -> None:
    passages = [passage for page in PAGES for passage in _passages(page.read_text(encoding="utf-8"))]
    altered, seen = 0, 0
    for one in (one for passage in passages for one in passage.prose):
        words = [found[0].rstrip(",") for found in figures(one.text)]
        for word, source in zip(words, resolve(one.sources), strict=True):
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


@pytest.mark.parametrize(
    "text", ["A merge takes 123.45 s.", "| a merge | 123.45 s |", "| a merge | 0.7 (0.5) |", "| a | -12 |"]
)
def test_a_measurement_that_comes_from_nowhere_is_seen(text: str) -> None:
    assert [len(one.faults) for one in _passages(f"# Speed\n\n{text}\n")] == [0, 1]
    assert not any(one.faults for one in _passages(f"<!-- given -->\n\n{text}\n"))
