"""Several audits side by side: what each protection leaves to every level of attack, and what it costs its owner.

    ruf of level n = the best that levels up to n reached on the protected model, over that on the unprotected one

Audits can be read in one table only where base, partner and test rows are the same; where they are not, the table says
what differs before it says anything else.  The most resistant protection stands first: the better grade, then the
higher level at which it falls, then what the levels recover, lowest level first; what fails its own checks is last.
"""

import csv
import io
import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from mergebarrier.errors import clean
from mergebarrier.report import wording
from mergebarrier.report.card import escape
from mergebarrier.report.html import policy, template
from mergebarrier.results import Result

if TYPE_CHECKING:
    from rich.console import Group

#: What must be the same in all audits of a table -> how a result says which it was.
_SAME: Final[dict[str, Callable[[Result], object]]] = {
    "base": lambda result: result.models["base"].content_digest,
    "partner": lambda result: result.models["partner"].content_digest,
    "original": lambda result: result.models["original"].content_digest,
    "test rows": lambda result: sorted((role, task.digest, task.test_items) for role, task in result.tasks.items()),
    "seed": lambda result: result.seed,
}
#: In the last column, where no check fails.
_ALL_HOLD: Final = "none"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A table: its heads, a row per audit, and what keeps the rows from being compared."""

    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    differ: tuple[str, ...]

    @property
    def warning(self) -> str:
        """What differs between the audits, and that checks of some fail; nothing where all can be compared."""
        said, failed = list[str](), sum(line[-1] != _ALL_HOLD for line in self.lines)
        if self.differ:
            said.append(
                f"These audits differ in {', '.join(self.differ)}: their rows cannot be compared with each other."
            )
        if failed:
            which = f"In {failed} of {len(self.lines)} audits checks of the measurement fail (last column)"
            said.append(f"{which}: rely on none of their figures before you know why. They stand last.")
        return " ".join(said)


def compare(results: Sequence[Result]) -> Comparison:
    """Lay out audits as one table, the most resistant first."""
    levels = sorted({level.level for result in results for level in result.levels})
    ordered = sorted(results, key=lambda result: _resistance(result, levels))
    heads = ("protected model", "protection", "grade", *(f"RUF, level {level}" for level in levels))
    heads += ("best attack", "its cost", "skill alone", "perplexity", "checks that fail")
    return Comparison(
        heads=heads,
        lines=tuple(_line(result, levels) for result in ordered),
        differ=tuple(name for name, of in _SAME.items() if any(of(one) != of(results[0]) for one in results)),
    )


def _resistance(result: Result, levels: Sequence[int]) -> tuple[bool, str, int, list[float], str]:
    """Order audits: what resists more is less, and a level that was not run is no merit."""
    reached = {level.level: level.ruf for level in result.levels}
    fell = result.grade_level if result.grade_level is not None else max(reached) + 1
    left = [reached.get(level, math.inf) for level in levels]
    return bool(_failed(result)), result.grade, -fell, left, clean(result.models["protected"].name)


def _failed(result: Result) -> list[str]:
    """Name the checks of an audit that do not hold."""
    return [clean(name).replace("_", " ") for name, check in result.controls.items() if not check.passed]


def _protection(result: Result) -> str:
    """Name the protection; none where the protected model is the original."""
    ours, theirs = (result.models[role].content_digest for role in ("protected", "original"))
    return "none" if ours == theirs else clean(result.method)


def _line(result: Result, levels: Sequence[int]) -> tuple[str, ...]:
    by_level = {level.level: level for level in result.levels}
    reached = [
        f"{by_level[n].ruf:.2f} [{by_level[n].ruf_low:.2f}, {by_level[n].ruf_high:.2f}]" if n in by_level else "not run"
        for n in levels
    ]
    best, alone = wording.best_attack(result), result.standalone
    perplexities = [side.perplexity for side in (alone.original, alone.protected)]
    return (
        clean(result.models["protected"].name),
        _protection(result),
        result.grade if result.grade_final else f"{result.grade} at least",
        *reached,
        clean(best.attack),
        wording.short_cost(best),
        f"{alone.original.skill:.2f} to {alone.protected.skill:.2f}",
        " to ".join(f"{value:.3f}" for value in perplexities if value is not None) or "not measured",
        ", ".join(_failed(result)) or _ALL_HOLD,
    )


def comparison_csv(table: Comparison) -> str:
    """Return the table as comma-separated values; what differs is a comment above them."""
    text = io.StringIO()
    if table.warning:
        text.write(f"# {table.warning}\n")
    csv.writer(text, lineterminator="\n").writerows([table.heads, *(map(_cell, line) for line in table.lines)])
    return text.getvalue().rstrip("\n")


def _cell(word: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{word}" if unicodedata.normalize("NFKC", word).lstrip()[:1] in ("=", "+", "-", "@") else word


def comparison_markdown(table: Comparison) -> str:
    """Return the table as Markdown."""
    rows = [table.heads, tuple("---" for _ in table.heads), *table.lines]
    shown = [f"| {' | '.join(cell if cell == '---' else escape(cell) for cell in row)} |" for row in rows]
    return "\n".join([*([f"**{escape(table.warning)}**", ""] if table.warning else []), *shown])


def comparison_html(table: Comparison) -> str:
    """Return one page: the table, the words that it uses, nothing from outside."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style = files("mergebarrier.report").joinpath("report.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template("comparison.html.jinja")).render(
        table=table, style=Markup(style), policy=policy(style), terms=wording.TERMS, grades=wording.grades()
    )


def comparison_terminal(table: Comparison) -> "Group":
    """Return the table as something that rich prints; every word is plain text."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for head in table.heads:
        shown.add_column(Text(head), overflow="fold")
    for line in table.lines:
        shown.add_row(*map(Text, line))
    return Group(*([Text(table.warning, style="bold red")] if table.warning else []), shown)
