"""``mergebarrier report``: show a finished report again, in another form, or several audits side by side."""

from pathlib import Path
from typing import Final

import click

from mergebarrier.cli._options import MODEL, output_options
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

__all__ = ["command"]

FORMATS: Final = ("text", "html", "md", "sarif", "csv", "json")
#: Words before several reports; a leaderboard is a comparison of everything that is at hand.
_SEVERAL: Final = (Path("compare"), Path("leaderboard"))


@click.command()
@click.argument("report_dirs", nargs=-1, required=True, type=MODEL, metavar="[compare|leaderboard] REPORT_DIR...")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@output_options
def command(report_dirs: tuple[Path, ...], form: str, output: Output) -> None:
    """Print the report in REPORT_DIR as text, HTML, a section for a model card, SARIF or JSON.

    `report compare A B ...` prints audits as one table, the most resistant protection first, as text, HTML, Markdown,
    CSV or JSON; what differs between them is said above it.  Each may be a folder or a kept result.json, and
    `report leaderboard` is the same over all that are at hand.

    A report is rendered from its data, so edits of the HTML page are not shown.
    """
    from mergebarrier.api import COMPARISON_FORMS, FORMS, compare_reports, report

    output = output.printing(form)
    several = report_dirs[0] in _SEVERAL and (len(report_dirs) > 1 or not report_dirs[0].exists())
    if several and len(report_dirs) == 1:
        raise UsageError("no report is given", where=report_dirs[0], remedy=f"report {report_dirs[0]} REPORT_DIR...")
    if not several and len(report_dirs) > 1:
        raise UsageError("several reports", where="REPORT_DIR", remedy="give one, or report compare REPORT_DIR...")
    known: tuple[str, ...] = COMPARISON_FORMS if several else FORMS
    if form not in ("text", "json", *known):
        raise UsageError(
            f"{form} is no form of {'a comparison' if several else 'one report'}",
            where="--format",
            remedy=f"give text, json, {', '.join(one for one in known if one != 'json')}",
        )
    if several:
        table = compare_reports(report_dirs[1:])
        shape = next((one for one in COMPARISON_FORMS if one == form), None)
        output.result(table, table.terminal() if shape is None else table.render(shape))
        return
    found = report(report_dirs[0])
    rendered = next((one for one in FORMS if one == form), None)
    output.result(found, found.terminal() if rendered is None else found.render(rendered))
