"""One HTML file: nothing from outside, every figure of the result, readable on a phone and in the dark.

The page's policy admits one style sheet and one script of ours, which sorts tables, each by its hash, and nothing else;
the template escapes every value.  Without scripts the page says the same.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from mergebarrier.report import pictures, wording
from mergebarrier.report.backdoor import page
from mergebarrier.report.base import svg
from mergebarrier.report.heat import tint, title
from mergebarrier.report.view import view
from mergebarrier.results import BackdoorResult, Cell, Measurement, Result


@dataclass(frozen=True, kw_only=True)
class _Panel:
    title: str
    start: str
    curve: svg.Drawn
    control: svg.Drawn
    barrier: str
    control_barrier: str


def render_html(result: Result | BackdoorResult, rows: Sequence[Cell | Measurement]) -> str:
    """Return the report as one HTML document.

    Args:
      result: the summary, of an audit or of a backdoor measurement.
      rows:   the rows behind it; test cells fill the heat table of an audit.
    Returns: HTML; the same input gives the same bytes.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style = _text("report.css")
    if isinstance(result, BackdoorResult):
        return page.html(result, template("backdoor.html.jinja"), style, policy(style))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False, keep_trailing_newline=True)
    frame = svg.axes([curve for _, curve in _lines(result)])
    return environment.from_string(template("report.html.jinja")).render(
        v=view(result, rows),
        policy=policy(style),
        style=Markup(style),
        grades=wording.grades(),
        terms=wording.TERMS,
        threat=wording.threat(result),
        tint=tint,
        fronts=pictures.fronts([row for row in rows if isinstance(row, Cell) and row.split == "test"], result),
        shares=pictures.share_axes(),
        prices=pictures.prices(result),
        lines=[heads for heads, _ in _lines(result)],
        frame=frame,
        panels=_panels(result, frame),
        points=_points(result),
    )


def _lines(result: Result) -> list[tuple[str, tuple[tuple[float, float], ...]]]:
    """Return every curve under the name of where it starts, the control last."""
    barrier = result.barrier
    lines = [("protected", barrier.curve), ("realigned", barrier.curve_realigned)]
    lines += [(title(state, result), line.curve) for state, line in barrier.further.items()]
    return [(name, curve) for name, curve in (*lines, ("unprotected", barrier.curve_unprotected)) if curve]


def _panels(result: Result, frame: svg.Axes) -> list[_Panel]:
    barrier = result.barrier
    drawn = [("Before realignment", "protected", barrier.curve, barrier.naive)]
    if barrier.realigned is not None:
        drawn.append(("After realignment", "realigned", barrier.curve_realigned, barrier.realigned))
    for state, line in barrier.further.items():
        drawn.append((title(state, result), title(state, result), line.curve, line.barrier))
    control = svg.draw(barrier.curve_unprotected, frame)
    return [
        _Panel(
            title=head,
            start=start,
            curve=svg.draw(curve, frame),
            control=control,
            barrier=f"{height:.2f}",
            control_barrier=f"{barrier.unprotected:.2f}",
        )
        for head, start, curve, height in drawn
    ]


def _points(result: Result) -> list[tuple[str, list[str]]]:
    curves = [curve for _, curve in _lines(result)]
    return [(f"{points[0][0]:g}", [f"{loss:.3f}" for _, loss in points]) for points in zip(*curves, strict=False)]


def policy(style: str) -> str:
    """Return a content policy that admits a style sheet and the script of ``template``, by their hashes, alone."""
    sheet, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, _text("sort.js"))
    )
    allowed = f"style-src 'sha256-{sheet}'; script-src 'sha256-{script}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def template(name: str) -> str:
    """Return the template of a page, with the script at its end."""
    return _text(name).replace("</body>", f"<script>{_text('sort.js')}</script>\n</body>")


def _text(name: str) -> str:
    return files("mergebarrier.report").joinpath(name).read_text(encoding="utf-8")
