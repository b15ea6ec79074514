"""``report``: read a finished report folder back, strictly, and show it in any form.

    result.json + rows.jsonl  ->  text | html | md | sarif | json

Every form is rendered again from the result, so edits of the page are not shown.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from mergebarrier.api.base import Report, Row, beside
from mergebarrier.results import BackdoorResult, Cell, Measurement, Result, scales_of

if TYPE_CHECKING:
    from rich.console import Group

Form = Literal["html", "md", "sarif", "json"]
FORMS: Final[tuple[Form, ...]] = ("html", "md", "sarif", "json")


@dataclass(frozen=True, kw_only=True)
class ResultReport(Report):
    """A result and the rows behind it.

    Attributes:
      result:  what ``result.json`` holds; ``to_dict()`` is that document.
      records: what ``rows.jsonl`` holds: finished cells and measurements.
      page:    the HTML page, where a report folder was written.
    """

    kind: ClassVar[str] = "audit"

    result: Result | BackdoorResult
    records: tuple[Cell | Measurement, ...] = beside()
    page: Path | None = beside(None)

    def document(self) -> dict[str, object]:
        """Return the result, and where its page is."""
        return asdict(self.result) | ({} if self.page is None else {"report": self.page})

    def rows(self) -> Sequence[Row]:
        """Return one row per merge that was scored; of a backdoor measurement, one per success rate."""
        if isinstance(self.result, BackdoorResult):
            return [{"about": row.about, **row.figures} for row in self.records if isinstance(row, Measurement)]
        scales = scales_of(self.result.references)
        return [
            {
                "state": cell.state,
                "level": cell.level,
                "attack": cell.attack,
                "split": cell.split,
                "merge": cell.merge,
                **{name: cell.coefficients.get(name) for name in ("coefficient", "protected", "partner")},
                "skill_protected": cell.skill_protected.rate,
                "skill_protected_low": cell.skill_protected.low,
                "skill_protected_high": cell.skill_protected.high,
                "skill_partner": cell.skill_partner.rate,
                "skill_partner_low": cell.skill_partner.low,
                "skill_partner_high": cell.skill_partner.high,
                "utility": scales.of(cell),
                "nll_nats": cell.nll_nats,
                "tokens": cell.tokens,
                "seconds": cell.seconds,
            }
            for cell in self.records
            if isinstance(cell, Cell)
        ]

    def render(self, form: Form) -> str:
        """Return one HTML page, a section for a model card, SARIF, or the JSON of ``result.json``."""
        from mergebarrier.report import render_card, render_html, render_sarif
        from mergebarrier.results import to_json

        if form == "html":
            return render_html(self.result, self.records)
        if form == "md":
            return render_card(self.result, self.records)
        return render_sarif(self.result) if form == "sarif" else to_json(self.result, indent=2).rstrip("\n")

    def table(self) -> "Group":
        """Return the report for a terminal, as something that rich prints."""
        from mergebarrier.report import render_terminal

        return render_terminal(self.result, self.records)


def report(folder: str | os.PathLike[str]) -> ResultReport:
    """Read a report that an audit or a measurement of a backdoor has finished.

    Args:
      folder: holds ``result.json`` and ``rows.jsonl``.
    Raises: BadReport naming the first thing in them that is wrong.
    """
    from mergebarrier.report import read_report

    result, rows = read_report(Path(folder))
    return ResultReport(result=result, records=tuple(rows))
