"""The heat table of a report: every test cell of the rows, by merge and setting, with a column per state of the model.

A row per merge and published coefficient, and one more per merge for the setting that a search chose.  A state that the
result does not describe has a column under its own name; nothing that was measured is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mergebarrier.errors import clean
from mergebarrier.progress import duration
from mergebarrier.report import wording
from mergebarrier.results import Cell, Result, Scales, Skill, scales_of


@dataclass(frozen=True, kw_only=True)
class Column:
    """A state of the model in the merge, and the best that any merge of it reached."""

    title: str
    hint: str
    best: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One cell for people: both skills, a tint of 0 (nothing) to 10 (everything) each, and the details."""

    ours: str
    theirs: str
    ours_tint: int
    theirs_tint: int
    both_tint: int
    setting: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class HeatRow:
    """The cells of one setting, in the order of the columns."""

    label: str
    pairs: tuple[Pair | None, ...]


@dataclass(frozen=True, kw_only=True)
class HeatGroup:
    """The rows of one merge algorithm."""

    merge: str
    lines: tuple[HeatRow, ...]


@dataclass(frozen=True, kw_only=True)
class Heat:
    """The whole table."""

    columns: tuple[Column, ...]
    groups: tuple[HeatGroup, ...]


def heat(cells: Sequence[Cell], result: Result) -> Heat:
    """Lay out the test cells of an audit."""
    states, scales = _states(cells, result), scales_of(result.references)
    return Heat(
        columns=tuple(_column(state, cells, result, scales) for state in states),
        groups=_groups(cells, states, scales),
    )


def title(state: str, result: Result) -> str:
    """Return what a state is called; its own name where the result does not say."""
    return clean(result.states[state].title) if state in result.states else clean(state)


def skill(found: Skill) -> str:
    """Return a skill with its interval and its rows."""
    return f"{found.rate:.2f} [{found.low:.2f}, {found.high:.2f}] of {found.total}"


def tint(share: float) -> int:
    """Return a share as one of eleven tints."""
    return round(10 * min(1.0, max(0.0, share)))


def _states(cells: Sequence[Cell], result: Result) -> list[str]:
    """Return the states that have a column: those described first, then unknown ones as they come."""
    found = dict.fromkeys(cell.state for cell in cells)
    known = [state for state, about in result.states.items() if about.column and state in found]
    return [*known, *(state for state in found if state not in result.states)]


def _column(state: str, cells: Sequence[Cell], result: Result, scales: Scales) -> Column:
    best = _best([cell for cell in cells if cell.state == state], scales)
    reached = "" if best is None else f"{best.skill_protected.rate:.2f} / {best.skill_partner.rate:.2f}"
    note = clean(result.states[state].note) if state in result.states else ""
    return Column(title=title(state, result), hint=note, best=reached)


def _groups(cells: Sequence[Cell], states: Sequence[str], scales: Scales) -> tuple[HeatGroup, ...]:
    groups = []
    for merge in dict.fromkeys(cell.merge for cell in cells if cell.state in states):
        here = [cell for cell in cells if cell.merge == merge]
        published: dict[tuple[str, str], Cell] = {
            (cell.state, wording.setting(cell.coefficients)): cell for cell in here if not _searched(cell)
        }
        labels = sorted({label for state, label in published if state in states}, key=_number)
        lines = [
            HeatRow(label=label, pairs=tuple(_pair(published.get((state, label)), scales, "") for state in states))
            for label in labels
        ]
        searched = [cell for cell in here if _searched(cell)]
        if searched:
            best = [_best([cell for cell in searched if cell.state == state], scales) for state in states]
            pairs = tuple(_pair(cell, scales, wording.setting(cell.coefficients) if cell else "") for cell in best)
            lines.append(HeatRow(label="search", pairs=pairs))
        groups.append(HeatGroup(merge=wording.merge_name(merge), lines=tuple(lines)))
    return tuple(groups)


def _searched(cell: Cell) -> bool:
    return "coefficient" not in cell.coefficients


def _number(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label


def _best(cells: Sequence[Cell], scales: Scales) -> Cell | None:
    return max(cells, key=scales.rank, default=None)


def _pair(cell: Cell | None, scales: Scales, setting: str) -> Pair | None:
    if cell is None:
        return None
    ours, theirs, utility = cell.skill_protected, cell.skill_partner, scales.of(cell)
    return Pair(
        ours=f"{ours.rate:.2f}",
        theirs=f"{theirs.rate:.2f}",
        ours_tint=tint(ours.rate),
        theirs_tint=tint(theirs.rate),
        both_tint=tint(utility),
        setting=setting,
        detail=f"protected task {skill(ours)}, partner task {skill(theirs)}, utility {utility:.2f}, "
        + duration(cell.seconds),
    )
