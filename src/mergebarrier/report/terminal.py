"""The report as text in a terminal: the same figures in the same order as the page.

Every word is set as plain text, never as markup, so a name in brackets cannot style or hide anything.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mergebarrier.report.backdoor import page
from mergebarrier.report.heat import Pair, title
from mergebarrier.report.view import ReportView, view
from mergebarrier.results import BackdoorResult, Cell, Measurement, Result

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

_STRONG = 6


def render_terminal(result: Result | BackdoorResult, rows: Sequence[Cell | Measurement]) -> "Group":
    """Return the report as one rich renderable, readable at 80 columns."""
    if isinstance(result, BackdoorResult):
        return page.terminal(result)
    from rich.console import Group
    from rich.text import Text

    shown = view(result, rows)
    blank = Text("")
    return Group(
        *_verdict(shown),
        blank,
        _heat(shown),
        Text("skills: protected expert's task / partner's task", style="dim"),
        blank,
        _ladder(shown),
        blank,
        _barriers(shown),
        blank,
        _standalone(shown),
        blank,
        *[
            Text(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.figure}. {check.says}")
            for check in shown.checks
        ],
        blank,
        *[Text(f"- {line}") for line in (*shown.limits, *shown.notes)],
        *([blank, Text(f"To make it again: {shown.command}")] if shown.command else []),
    )


def _verdict(shown: ReportView) -> "list[RenderableType]":
    from rich.table import Table
    from rich.text import Text

    result = shown.result
    letter = result.grade if result.grade_final else f"{result.grade} at least"
    heads = Table.grid(expand=True, padding=(0, 2))
    for _ in range(2):
        heads.add_column(ratio=1)
    heads.add_row(
        Text(f"By itself it keeps {shown.kept_figure}", style="bold"),
        Text(f"Breaking it took: {shown.price_figure}", style="bold"),
    )
    heads.add_row(Text(shown.alone), Text(shown.price))
    heads.add_row(Text(""))
    heads.add_row(
        Text(f"Stock merging recovers {shown.naive_figure}", style="bold"),
        Text(f"The best attacker recovers {shown.attacker_figure}", style="bold"),
    )
    heads.add_row(Text(shown.naive), Text(shown.attacker))
    return [
        Text(f"{shown.title}: {shown.method}", style="dim"),
        *([Text(shown.alarm, style="bold red")] if shown.alarm else []),
        Text(f"Grade {letter}. {shown.grade_sentence}", style="bold"),
        Text(""),
        heads,
        Text(""),
        Text(" ".join(shown.promise)),
    ]


def _heat(shown: ReportView) -> "Table":
    table = _table("merge", *(column.title for column in shown.heat.columns), keep=("merge",))
    for group in shown.heat.groups:
        for line in group.lines:
            table.add_row(_text(f"{group.merge} {line.label}"), *(_pair(pair) for pair in line.pairs))
    return table


def _pair(pair: Pair | None) -> "Text":
    if pair is None:
        return _text(".", "dim")
    chosen = f" ({pair.setting})" if pair.setting else ""
    return _text(f"{pair.ours} / {pair.theirs}{chosen}", "bold" if pair.both_tint >= _STRONG else "")


def _ladder(shown: ReportView) -> "Table":
    table = _table("level", "best merge", "skills", "RUF", "cost")
    for rung in shown.rungs:
        name = f"{rung.level} {rung.name}: {rung.attack}" if rung.graded else f"{rung.name}, not graded: {rung.attack}"
        best = f"{rung.merge} {rung.setting}"
        words = (name, best, f"{rung.ours} / {rung.theirs}", rung.ruf_text, rung.short_cost)
        table.add_row(*(_text(word, "bold" if rung.broken and rung.graded else "") for word in words))
    return table


def _barriers(shown: ReportView) -> "Text":
    barrier = shown.result.barrier
    after = "not run" if barrier.realigned is None else f"{barrier.realigned:.2f}"
    heights = [f"{barrier.naive:.2f} protected", f"{after} realigned"]
    heights += [f"{line.barrier:.2f} {title(state, shown.result)}" for state, line in barrier.further.items()]
    heights.append(f"{barrier.unprotected:.2f} unprotected")
    return _text(f"Barrier on the line to the partner, nats per answer token: {', '.join(heights)}.")


def _standalone(shown: ReportView) -> "Table":
    table = _table("by itself", "original", "protected")
    for name, ours, theirs in shown.standalone:
        table.add_row(_text(name), _text(ours), _text(theirs))
    for name, one, two, floor in shown.closeness:
        table.add_row(_text(name), _text("-"), _text(f"{one} (float32); {two} (bfloat16, floor {floor})"))
    return table


def _table(*heads: str, keep: Sequence[str] = ()) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(_text(head), overflow="fold", no_wrap=head in keep)
    return table


def _text(words: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(words, style=style)
