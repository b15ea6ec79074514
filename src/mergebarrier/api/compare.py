"""``compare_reports``: finished audits as one table, for a page, a spreadsheet, a card or a data frame."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from mergebarrier.api.base import Report, Row
from mergebarrier.errors import BadReport
from mergebarrier.report import read_report, read_result
from mergebarrier.results import Result

if TYPE_CHECKING:
    from rich.console import Group

    from mergebarrier.report import Comparison

ComparisonForm = Literal["html", "md", "csv"]
COMPARISON_FORMS: Final[tuple[ComparisonForm, ...]] = ("html", "md", "csv")


@dataclass(frozen=True, kw_only=True)
class ComparisonReport(Report):
    """Audits side by side, the most resistant protection first.

    Attributes:
      heads:  of the columns.
      lines:  a row of words per audit.
      differ: what is not the same in all of them, so that rows cannot be compared.
    """

    kind: ClassVar[str] = "comparison"

    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    differ: tuple[str, ...]

    def rows(self) -> Sequence[Row]:
        """Return one row per audit."""
        return [dict(zip(self.heads, line, strict=True)) for line in self.lines]

    def render(self, form: ComparisonForm) -> str:
        """Return one HTML page, a Markdown table, or comma-separated values."""
        from mergebarrier.report import comparison_csv, comparison_html, comparison_markdown

        renderers = {"html": comparison_html, "md": comparison_markdown, "csv": comparison_csv}
        return renderers[form](self._table())

    def terminal(self) -> "Group":
        """Return the table as something that rich prints."""
        from mergebarrier.report import comparison_terminal

        return comparison_terminal(self._table())

    def _table(self) -> "Comparison":
        from mergebarrier.report import Comparison

        return Comparison(heads=self.heads, lines=self.lines, differ=self.differ)


def compare_reports(reports: Sequence[str | os.PathLike[str]]) -> ComparisonReport:
    """Read finished audits and lay them side by side.

    Args:
      reports: of audits, one or more; each a report folder or its ``result.json``, under whatever name it was kept.
               One that is given twice is shown once.
    Raises: BadReport for what holds no finished audit.
    """
    from mergebarrier.report import compare

    given = [_result(Path(path)) for path in reports]
    table = compare([result for n, result in enumerate(given) if result not in given[:n]])
    return ComparisonReport(heads=table.heads, lines=table.lines, differ=table.differ)


def _result(path: Path) -> Result:
    result = read_result(path) if path.is_file() else read_report(path)[0]
    if not isinstance(result, Result):
        raise BadReport(
            "is not the report of an audit", where=path, remedy="give folders that `audit` wrote, or their result.json"
        )
    return result
