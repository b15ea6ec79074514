"""One HTML file: no script, nothing from outside, every figure of the result, readable on a phone and in the dark.

The page's policy admits exactly one style sheet, by its hash, and nothing else; the template escapes every value.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from mergebarrier.report import wording
from mergebarrier.report.backdoor import page
from mergebarrier.report.base import svg
from mergebarrier.report.view import view
from mergebarrier.results import BackdoorResult, Cell, Measurement, Result


@dataclass(frozen=True)
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
        return page.html(result, _text("backdoor.html.jinja"), style, _policy(style))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False, keep_trailing_newline=True)
    barrier = result.barrier
    frame = svg.axes([barrier.curve, barrier.curve_realigned, barrier.curve_unprotected])
    return environment.from_string(_text("report.html.jinja")).render(
        v=view(result, rows),
        policy=_policy(style),
        style=Markup(style),
        grades=list(wording.GRADES.items()),
        terms=wording.TERMS,
        threat=wording.threat(result),
        tint=lambda share: round(10 * min(1.0, max(0.0, share))),
        frame=frame,
        panels=_panels(result, frame),
        points=_points(result),
    )


def _panels(result: Result, frame: svg.Axes) -> list[_Panel]:
    barrier = result.barrier
    control, reference = svg.draw(barrier.curve_unprotected, frame), f"{barrier.unprotected:.2f}"
    panels = [
        _Panel(
            "Before realignment",
            "protected",
            svg.draw(barrier.curve, frame),
            control,
            f"{barrier.naive:.2f}",
            reference,
        )
    ]
    if barrier.realigned is not None:
        curve = svg.draw(barrier.curve_realigned, frame)
        panels.append(_Panel("After realignment", "realigned", curve, control, f"{barrier.realigned:.2f}", reference))
    return panels


def _points(result: Result) -> list[tuple[str, list[str]]]:
    barrier = result.barrier
    curves = [curve for curve in (barrier.curve, barrier.curve_realigned, barrier.curve_unprotected) if curve]
    return [(f"{points[0][0]:g}", [f"{loss:.3f}" for _, loss in points]) for points in zip(*curves, strict=False)]


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _text(name: str) -> str:
    return files("mergebarrier.report").joinpath(name).read_text(encoding="utf-8")
