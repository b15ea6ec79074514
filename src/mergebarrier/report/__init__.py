"""One result, several views: a page, a terminal, a model card, JSON, SARIF; the report folder that holds them."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.report.card import render_card
    from mergebarrier.report.comparison import (
        Comparison,
        compare,
        comparison_csv,
        comparison_html,
        comparison_markdown,
        comparison_terminal,
    )
    from mergebarrier.report.findings import (
        ScanView,
        render_failure,
        render_findings,
        render_junit,
        render_junit_failure,
    )
    from mergebarrier.report.folder import (
        PROGRESS,
        WORK,
        Journal,
        read_findings,
        read_report,
        read_result,
        write_progress,
        write_report,
    )
    from mergebarrier.report.html import render_html
    from mergebarrier.report.sarif import render_sarif
    from mergebarrier.report.statement import check_statement_folder, render_statement, write_statement_files
    from mergebarrier.report.terminal import render_terminal

__all__ = [
    "PROGRESS",
    "WORK",
    "Comparison",
    "Journal",
    "ScanView",
    "check_statement_folder",
    "compare",
    "comparison_csv",
    "comparison_html",
    "comparison_markdown",
    "comparison_terminal",
    "read_findings",
    "read_report",
    "read_result",
    "render_card",
    "render_failure",
    "render_findings",
    "render_html",
    "render_junit",
    "render_junit_failure",
    "render_sarif",
    "render_statement",
    "render_terminal",
    "write_progress",
    "write_report",
    "write_statement_files",
]

lazy.open_door(__name__)
