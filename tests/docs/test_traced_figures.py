"""Every figure that README and docs report is in a results file that a command wrote, so that none can drift.

A paragraph, list or table that reports a measurement names its source in a comment above it:

    <!-- figures: badmerging lineage; derived: 2.5; given: 20 28 1.1 -->

Each number in it is then one of benchmarks/results/badmerging.* or lineage.*, rounded; or derived from such, a ratio or
a difference; or given: a setting, a size, a figure that somebody else published.
What looks like a measurement and names no source fails; ``<!-- given -->`` says that nothing here was measured by us.
"""

import functools
import re
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
    r"<!-- figures: (?P<names>[\w ]+)(?:; derived: (?P<derived>[^;]+))?(?:; given: (?P<given>[^;]+))? -->"
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
        allowed = words["derived"] + words["given"] if mark else None
        found.append(Passage(page, _CODE.sub(" ", part), tuple(words.get("names", ())), allowed))
        mark = None
    return found


def _value(word: str) -> float:
    return float(word.replace(",", "").lstrip("+"))


@functools.cache
def _measured(name: str) -> frozenset[float]:
    """Return every number of a results file, and shares also in per cent."""
    files = sorted(RESULTS.glob(f"{name}.*"))
    assert files, f"there is no benchmarks/results/{name}"
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    found = {_value(word) for word in re.findall(r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e-?\d+)?", text)}
    return frozenset(found | {100 * one for one in found if 0 < abs(one) <= 1})


def _stands_in(word: str, names: tuple[str, ...]) -> bool:
    digits = len(word.split("e")[0].partition(".")[2])
    half = 0.5 * 10.0**-digits if "e" not in word else abs(_value(word)) * 0.1
    return any(abs(_value(word) - one) <= half * 1.0001 for name in names for one in _measured(name))


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
        elif passage.given is None and _MEASURED.search(passage.text):
            wrong.append(f"{passage.where}: names no source")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("names", [("startup",), ()])
def test_a_figure_that_drifts_is_seen(names) -> None:
    drifted = Passage(ROOT / "README.md", "A merge takes 123.45 s.", names, None)
    assert _untraced(drifted) == ["123.45"] and _MEASURED.search(drifted.text)
