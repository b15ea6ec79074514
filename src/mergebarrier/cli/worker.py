"""``mergebarrier worker``: do one task of the plan of an audit, on any machine that shares its report folder."""

from pathlib import Path

import click

from mergebarrier.cli._options import MODEL, output_options
from mergebarrier.cli._output import Output

__all__ = ["command"]


@click.command()
@click.option("--plan", type=MODEL, required=True, help="The plan that `audit --plan-only` wrote.")
@click.option("--task", type=click.IntRange(0), required=True, metavar="I", help="Number of the task, from 0.")
@output_options
def command(plan: Path, task: int, output: Output) -> None:
    """Do task I of PLAN: its rows go to the folder of the plan, where `audit --resume` finds them.

    For arrays of Slurm and indexed jobs of Kubernetes; tasks of one stage may run side by side. A task that is done
    again keeps the rows that it has.
    """
    from mergebarrier.api import worker

    done = worker(plan, task, say=output.note)
    output.result(done, f"task {done.task} ({done.label}): {done.n_rows} rows")
