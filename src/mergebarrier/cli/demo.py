"""``mergebarrier demo``: the whole story on a real language model, shown while it happens."""

from pathlib import Path

import click

from mergebarrier.cli._compute import dtype_option
from mergebarrier.cli._options import WriterOptions, output_options, writer_options
from mergebarrier.cli._output import Output

__all__ = ["command"]


@click.command()
@dtype_option()
@writer_options(default=Path("mergebarrier-demo"), what="Where the models and the report go.")
@output_options
def command(writer: WriterOptions, dtype: str, output: Output) -> None:
    """Train two experts, merge them, protect one, merge again, realign it, merge again; print table and grade.

    Downloads about 100 MB once and takes minutes on two cores. A second run reuses what the first made, with or without
    --resume; --overwrite protects and audits afresh.
    """
    from mergebarrier.api import demo, demo_models, plan_demo

    out, write = writer.folder, writer.write()
    if writer.dry_run:
        plan = plan_demo(out)
        output.plan(plan)
        return
    with output.progress("making the models") as bar:
        models = demo_models(out, write=write, say=output.note, progress=bar)
    report = demo(out, models=models, dtype=dtype, seed=writer.seed, write=write, say=output.note)
    output.result(report, report.terminal())
