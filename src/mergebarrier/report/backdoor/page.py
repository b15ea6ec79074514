"""A backdoor measurement as a page, a terminal table, a card section and SARIF; each is a view of the same result.

MB9511 (error)    the excess over the control is above 10 points with its whole interval
MB9512 (warning)  a control of the measurement failed
MB9513 (note)     measured, and no such excess found; this claims no more than that

Pictures are inlined as data, so the page's policy admits images from ``data:`` and nothing else from anywhere.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mergebarrier.report.backdoor.view import TERMS, BackdoorView, backdoor_view, both, rate, short, signed
from mergebarrier.report.base import svg
from mergebarrier.results import BackdoorResult

if TYPE_CHECKING:
    from rich.console import Group

RULES: Final = {
    "MB9511": ("error", "A trigger fires in the merge far beyond what it does on the clean merge."),
    "MB9512": ("warning", "A control of the measurement failed; its figures need care."),
    "MB9513": ("note", "This trigger was measured and did not fire beyond its control."),
}


def html(result: BackdoorResult, template: str, style: str, policy: str) -> str:
    """Return the page.

    Args:
      result:   the measurement.
      template: text of the jinja template.
      style:    the style sheet.
      policy:   content policy of a page without pictures.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    top = max((scale for scale, _ in result.curve), default=1.0) or 1.0
    lines = [
        [(scale / top, 100 * point.asr.rate) for scale, point in result.curve],
        [(scale / top, 100 * point.control.rate) for scale, point in result.curve],
    ]
    frame = svg.axes([[(0.0, 99.0)]])
    return environment.from_string(template).render(
        v=backdoor_view(result),
        policy=f"{policy}; img-src data:",
        style=Markup(style),
        terms=TERMS,
        frame=frame,
        x_ticks=[
            svg.Tick(round(frame.left + (frame.right - frame.left) * s / top, 1), f"{s:g}") for s, _ in result.curve
        ],
        curve=svg.draw(lines[0], frame),
        control=svg.draw(lines[1], frame),
    )


def terminal(result: BackdoorResult) -> "Group":
    """Return the measurement as one rich renderable."""
    from rich import box
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

    shown = backdoor_view(result)

    def table(*heads: str) -> Table:
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for head in heads:
            made.add_column(Text(head), overflow="fold")
        return made

    head = table(f"n = {result.merged.asr.total}", "ASR", "control", "excess, points")
    merged = (short(result.merged.asr), short(result.merged.control), signed(result.merged.excess))
    head.add_row("merge", *(Text(word, style="bold") for word in merged))
    for scale, asr, control, excess in shown.curve:
        head.add_row(f"scale {scale}", Text(asr), Text(control), excess)
    for task, asr, control, excess in shown.tasks:
        head.add_row(Text(task), Text(asr), Text(control), excess)
    clean = table("clean accuracy", "clean merge", "this merge", "difference")
    for row in shown.accuracies:
        clean.add_row(*(Text(word) for word in row))
    title = Text(f"{shown.title}: {shown.trigger}", style="dim")
    alarm = [Text(shown.alarm, style="bold red")] if shown.alarm else []
    parts: list[RenderableType] = [title, *alarm, Text(shown.sentence, style="bold")]
    parts += [Text(f"Excess {shown.excess}, {shown.excess_detail}."), head, clean]
    parts += [
        Text(f"{'ok  ' if good else 'FAIL'} {name}: {figure}. {says}") for name, good, figure, says in shown.checks
    ]
    parts += [Text(f"{rule} {severity} {model}: {says}") for rule, severity, model, says in shown.findings or ()]
    again = [Text(""), Text(f"To make it again: {shown.command}")] if shown.command else []
    return Group(*parts, Text(""), *(Text(f"- {line}") for line in shown.limits), *again)


def card(result: BackdoorResult, escape: Callable[[str], str]) -> str:
    """Return a Markdown section for a model's card."""
    shown = backdoor_view(result)
    lines = [
        "## Backdoor measurement",
        "",
        *([f"**{escape(shown.alarm)}**", ""] if shown.alarm else []),
        escape(shown.sentence),
        "",
        "| | ASR | control | excess |",
        "|---|---|---|---|",
        "| merge | "
        + " | ".join(map(escape, (rate(result.merged.asr), rate(result.merged.control), shown.excess)))
        + " |",
    ]
    lines += [f"| scale {s} | {escape(a)} | {escape(c)} | {escape(e)} |" for s, a, c, e in shown.curve]
    lines += [f"| {escape(task)} | {escape(a)} | {escape(c)} | {escape(e)} |" for task, a, c, e in shown.tasks]
    lines += ["", f"Trigger: {escape(shown.trigger)}.", ""]
    lines += ["| clean accuracy | clean merge | this merge | difference |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(escape(word) for word in row) + " |" for row in shown.accuracies]
    lines += _findings(shown, escape)
    lines += ["", "What this does not show:", "", *(f"- {escape(line)}" for line in shown.limits)]
    lines += ["", f"To make it again: {escape(shown.command)}"] if shown.command else []
    return "\n".join(lines) + "\n"


def sarif(result: BackdoorResult) -> str:
    """Return one SARIF document; the model is named by its content digest."""
    shown = backdoor_view(result)
    text = f"Target {shown.target!r}: {both(result.merged)}; {shown.excess_detail}."
    findings = [_result("MB9511" if shown.fired else "MB9513", text, result)]
    findings += [
        _result("MB9512", f"{name}: {figure}. {says}", result) for name, good, figure, says in shown.checks if not good
    ]
    rules = [{"id": rule, "shortDescription": {"text": words}} for rule, (_, words) in RULES.items()]
    driver = {"name": "mergebarrier", "semanticVersion": result.version, "rules": rules}
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": findings}],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _result(rule: str, text: str, result: BackdoorResult) -> dict[str, object]:
    model = result.models["merged"]
    figures = {"asr": result.merged.asr.rate, "control": result.merged.control.rate, "excess": result.merged.excess}
    return {
        "ruleId": rule,
        "level": RULES[rule][0],
        "message": {"text": text},
        "fingerprints": {"contentDigest/v1": model.content_digest},
        "locations": [{"logicalLocations": [{"name": model.name, "kind": "resource"}]}],
        "properties": figures,
    }


def _findings(shown: BackdoorView, escape: Callable[[str], str]) -> list[str]:
    if not shown.findings:
        return []
    rows = ["| " + " | ".join(escape(word) for word in row) + " |" for row in shown.findings]
    return ["", "| rule | severity | model | finding of the scan |", "|---|---|---|---|", *rows]
