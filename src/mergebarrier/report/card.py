"""The report as a section for a model's card: the success and the attack on it in one short table.

Every value is escaped for Markdown and HTML, so that no name can open a link, a table cell or a tag.
"""

import re
from collections.abc import Sequence
from typing import Final

from mergebarrier.report.backdoor import page
from mergebarrier.report.view import view
from mergebarrier.results import BackdoorResult, Cell, Measurement, Result

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_OF: Final = "** of what an unprotected merge reaches on the weaker of both tasks."


def render_card(result: Result | BackdoorResult, rows: Sequence[Cell | Measurement]) -> str:
    """Return Markdown: verdict, ladder, equality, limits; or success with its control, for a backdoor measurement."""
    if isinstance(result, BackdoorResult):
        return page.card(result, escape)
    shown = view(result, rows)
    letter = result.grade if result.grade_final else f"{result.grade} at least"
    lines = [
        "## Merge protection",
        "",
        f"Method: {escape(shown.method)}. Audited with mergebarrier {escape(result.version)}.",
        "",
        *([f"**{escape(shown.alarm)}**", ""] if shown.alarm else []),
        f"**Grade {letter}.** {escape(shown.grade_sentence)}",
        "",
        f"**By itself it keeps {shown.kept_figure}** of the original's skill. {escape(shown.alone)}",
        "",
        f"**Stock merging recovers {shown.naive_figure}{_OF} {escape(shown.naive)}",
        "",
        f"**The best attacker recovers {shown.attacker_figure}{_OF} {escape(shown.attacker)}",
        "",
        f"**Breaking it took: {escape(shown.price_figure)}** {escape(shown.price_unit)}. {escape(shown.price)}",
        "",
        escape(" ".join(shown.promise)),
        "",
        "| level | attack | skills after the best merge | unprotected | RUF | cost |",
        "|---|---|---|---|---|---|",
    ]
    for rung in shown.rungs:
        name = f"{rung.level} {rung.name}" if rung.graded else f"{rung.name} (not graded)"
        cells = (name, rung.attack, f"{rung.ours} / {rung.theirs}", rung.unprotected, rung.ruf_text, rung.cost)
        lines.append(f"| {' | '.join(escape(cell) for cell in cells)} |")
    lines += ["", "| by itself | original | protected |", "|---|---|---|"]
    lines += [f"| {escape(name)} | {escape(ours)} | {escape(theirs)} |" for name, ours, theirs in shown.standalone]
    if shown.trained:
        lines += ["", "| its owner reports (manifest) | expert | protected | control |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(escape(cell) for cell in row)} |" for row in shown.trained]
    lines += ["", "| model in the merge | best skills of any merge |", "|---|---|"]
    lines += [f"| {escape(column.title)} | {escape(column.best)} |" for column in shown.heat.columns]
    lines += ["", "Checks of the audit itself:", ""]
    lines += [
        f"- {escape(check.name)}: {'holds' if check.passed else 'does not hold'} ({escape(check.figure)})"
        for check in shown.checks
    ]
    lines += ["", "What this does not show:", ""]
    lines += [f"- {escape(line)}" for line in (*shown.limits, *shown.notes)]
    lines += ["", f"To make it again: {escape(shown.command)}"] if shown.command else []
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line, linking nowhere."""
    line = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    for sign, entity in (("\\<", "&lt;"), ("\\>", "&gt;"), ("://", "&#58;//"), ("www.", "www&#46;"), ("@", "&#64;")):
        line = line.replace(sign, entity)
    return line
