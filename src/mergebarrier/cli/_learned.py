"""``mergebarrier merge --data FILE...``: merges that run the experts, on one file of data each, before they write."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._lineage import LINEAGE, exit_code, note_findings, show_plan
from mergebarrier.cli._models import MODEL, arrange, into, open_model
from mergebarrier.cli._options import WriterOptions, dtype_option
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.verbs import Checks

__all__ = ["DataOptions", "data_options", "merge_learned"]


@dataclass(frozen=True)
class DataOptions:
    """Options of the methods that learn; None where the user gave none."""

    data: tuple[Path, ...]
    samples: int | None
    dtype: str | None

    def given(self) -> dict[str, Any]:
        """Return the options by name; one that was not given is None or ``()``."""
        return {"data": self.data, "samples": self.samples, "dtype": self.dtype}

    def unused(self, *, runs: bool) -> dict[str, Any]:
        """Return the options that mean nothing to a method that learns nothing; a check runs models in ``dtype``."""
        return {name: value for name, value in self.given().items() if not (runs and name == "dtype")}

    def refuse(self, method: str, *, runs: bool) -> None:
        """Raise UsageError when one is given to a method that learns nothing, and to no check that runs models."""
        for name, value in self.unused(runs=runs).items():
            if value is not None and value != ():
                raise UsageError(f"not an option of {method}", where=f"--{name}", remedy="leave it out")


def data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--data``, ``--samples`` and ``--dtype``; the verb gets ``learning: DataOptions``."""

    @click.option(
        "--data",
        type=MODEL,
        multiple=True,
        metavar="FILE",
        help="Once per MODEL, in order: a task (.jsonl, prompts only) or text.",
    )
    @click.option("--samples", type=click.IntRange(1), metavar="N", help="Rows of each --data file.  [default: 256]")
    @dtype_option(None)
    @functools.wraps(function)
    def verb(*args: Any, data: tuple[Path, ...], samples: int | None, dtype: str | None, **kwargs: Any) -> Any:
        return function(*args, learning=DataOptions(data, samples, dtype), **kwargs)

    return verb


def merge_learned(
    method: str,
    parameters: dict[str, Any],
    base: Path | None,
    models: tuple[Path, ...],
    learning: DataOptions,
    writer: WriterOptions,
    output: Output,
    checks: "Checks",
) -> int:
    """Learn and merge, or say what would be done.

    Args:
      method:     a key of DATA_MERGES.
      parameters: of the method.
      base:       of the experts, or None.
      models:     the experts.
      learning:   data and how to run the models on it.
      writer:     where and how to write.
      output:     where to say what.
      checks:     what is asked beyond the weights.
    """
    from mergebarrier import verbs
    from mergebarrier.merge import make_learned
    from mergebarrier.merge import parameters as told

    if not learning.data:
        raise UsageError(f"{method} learns from data", where="--data", remedy="give --data FILE once per model")
    merge = make_learned(method, **parameters)
    adapted = base
    base, models = arrange(method, base, models, output, uses_base=merge.uses_base)
    calibration = verbs.Calibration(learning.data, learning.samples or 256, learning.dtype or "float32", writer.seed)
    with ExitStack() as stack:
        folders = verbs.Models(stack)
        opened = folders.model(base) if base is not None else None
        experts = [open_model(folders, model, adapted) for model in models]
        planned = verbs.plan_fallback(merge, opened, experts)
        merge = verbs.fit_memory_budget(merge, planned, calibration, writer.max_ram_bytes)
        for note in planned.notes:
            output.note(f"note: {note}")
        if writer.dry_run:
            document = {
                "method": method,
                "parameters": told(merge),
                "sources": [source.path.name for source in planned.sources],
                "need": "data",
                "data": [path.name for path in learning.data],
                "tensors": len(planned.donor.tensors),
                "peak_bytes": verbs.learning_bytes(merge, planned, calibration),
                "files": [shard.name for shard in planned.donor.shards],
            }
            return show_plan(document, verbs.whole_models(planned), checks, output)
        # A merge that an owner forbids is not learned first.
        verbs.judged_inputs(verbs.whole_models(planned), checks)
        anchor = folders.model(adapted) if adapted is not None else None
        with output.progress("learning") as progress:
            job = verbs.learn_merge(merge, planned, calibration, progress, anchor)
        with output.progress("merging") as progress:
            content = verbs.merge(job, into(writer, progress), checks)
    note_findings(content, output)
    digest = content["output"]["content_digest"]
    document = {"kind": "merge", "out": writer.folder, "notes": planned.notes, "content_digest": digest}
    document |= {name: content[name] for name in ("method", "parameters", "data", "coefficients", "diagnostics")}
    document |= {name: content[name] for name in LINEAGE}
    output.result(document, f"{writer.folder}: {len(models)} models merged by {method}, content {digest}")
    return exit_code(content)
