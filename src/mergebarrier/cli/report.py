"""``mergebarrier report``: show the report of a finished audit again, in another form."""

from pathlib import Path

import click

from mergebarrier.cli._options import MODEL, output_options
from mergebarrier.cli._output import Output

__all__ = ["command"]

FORMATS = ("text", "html", "md", "sarif", "json")


@click.command()
@click.argument("report_dir", type=MODEL, metavar="REPORT_DIR")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@output_options
def command(report_dir: Path, form: str, output: Output) -> None:
    """Print the report in REPORT_DIR as text, HTML, a section for a model card, SARIF or JSON.

    The report is rendered from its data, so edits of the HTML page are not shown.
    """
    from mergebarrier.api import FORMS, report

    found = report(report_dir)
    rendered = next((one for one in FORMS if one == form), None)
    output.result(found, found.terminal() if rendered is None else found.render(rendered))
