"""``mergebarrier import-gguf``: a GGUF file as a model folder."""

from pathlib import Path

import click

from mergebarrier.cli._options import MODEL, WriterOptions, output_options, shards_option, writer_options
from mergebarrier.cli._output import Output

__all__ = ["command"]


@click.command("import-gguf")
@click.argument("file", type=MODEL)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Of the weights; auto keeps the file's, and takes bfloat16 where it is quantised.",
)
@shards_option
@writer_options
@output_options
def command(file: Path, dtype: str, writer: WriterOptions, output: Output) -> None:
    """Write the model of a GGUF FILE as a folder that every other verb reads.

    Needs the extras eval and gguf.  Weights of a quantised file lie on its grid: they are not the original model's.
    """
    from mergebarrier.api import import_gguf, plan_import_gguf

    if writer.dry_run:
        plan = plan_import_gguf(file, dtype=dtype)
        for note in plan.notes or ():
            output.note(note)
        output.result(plan, f"{plan.architecture} ({', '.join(plan.types)}): would write {plan.dtype}")
        return
    with output.progress("importing") as progress:
        report = import_gguf(file, writer.folder, dtype=dtype, write=writer.write(), progress=progress)
    for note in report.notes or ():
        output.note(note)
    output.result(report, f"{report.out}: {report.architecture}, {report.dtype}")
