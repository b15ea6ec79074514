"""``mergebarrier report``: show the report of a finished audit again, in another form."""

import json
from pathlib import Path

import click

from mergebarrier.cli._models import MODEL
from mergebarrier.cli._options import output_options
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
    from dataclasses import asdict

    from mergebarrier.report import read_report, render_card, render_html, render_sarif, render_terminal

    result, rows = read_report(report_dir)
    document = asdict(result)
    if form == "html":
        output.result(document, render_html(result, rows))
    elif form == "md":
        output.result(document, render_card(result, rows))
    elif form == "sarif":
        output.result(document, render_sarif(result))
    elif form == "json":
        output.result(document, json.dumps(document, indent=2, allow_nan=False))
    else:
        output.result(document, render_terminal(result, rows))
