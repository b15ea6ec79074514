"""The report of a verb whose result is a folder: the summary, the rows behind it, and every form that shows them.

result.json + rows.jsonl  ->  terminal | html | md | sarif | json
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from mergebarrier.api.base.report import Report, beside
from mergebarrier.results import BackdoorResult, Cell, Measurement, Result

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
      page:    the HTML page, where a report folder was written just now.
    """

    kind: ClassVar[str] = "result"

    result: Result | BackdoorResult
    records: tuple[Cell | Measurement, ...] = beside()
    page: Path | None = beside(None)

    def document(self) -> dict[str, object]:
        """Return the result, and where its page is."""
        return asdict(self.result) | ({} if self.page is None else {"report": self.page})

    def render(self, form: Form) -> str:
        """Return one HTML page, a section for a model card, SARIF, or the JSON of ``result.json``."""
        from mergebarrier.report import render_card, render_html, render_sarif
        from mergebarrier.results import to_json

        if form == "html":
            return render_html(self.result, self.records)
        if form == "md":
            return render_card(self.result, self.records)
        return render_sarif(self.result) if form == "sarif" else to_json(self.result, indent=2).rstrip("\n")

    def terminal(self) -> "Group":
        """Return the report as something that rich prints, and where its page is."""
        from rich.console import Group
        from rich.text import Text

        from mergebarrier.report import render_terminal

        last = [] if self.page is None else [Text(f"\nReport: {self.page}")]
        return Group(render_terminal(self.result, self.records), *last)
