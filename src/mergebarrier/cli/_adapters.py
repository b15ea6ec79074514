"""``mergebarrier merge ... --as adapter``: adapters into one more adapter, from flags or from a recipe."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._lineage import LINEAGE, note_findings, show_plan
from mergebarrier.cli._models import into
from mergebarrier.cli._options import WriterOptions
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.merge.adapters import AdapterOutput, AdapterPlan
    from mergebarrier.verbs import Checks

__all__ = ["adapter_options", "merge_adapters", "run_adapters"]


def adapter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--as``, ``--rank`` and ``--lora-space``; the verb gets ``written``, for ``output_of``."""

    @click.option("--as", "kind", type=click.Choice(["model", "adapter"]), help="What to write.  [default: model]")
    @click.option("--rank", type=click.IntRange(1), metavar="K", help="--as adapter: largest rank of the output.")
    @click.option(
        "--lora-space",
        type=click.Choice(["product", "factor"]),
        help="--as adapter: merge the products B A (exact) or the factors.",
    )
    @functools.wraps(function)
    def verb(*args: Any, kind: str | None, rank: int | None, lora_space: str | None, **kwargs: Any) -> Any:
        return function(*args, written={"as": kind, "rank": rank, "lora_space": lora_space}, **kwargs)

    return verb


def merge_adapters(
    method: str,
    chosen: Mapping[str, Any],
    base: Path | None,
    models: Sequence[Path],
    asked: "AdapterOutput",
    writer: WriterOptions,
    output: Output,
    checks: "Checks",
) -> int:
    """Merge adapter folders by one method.

    Args:
      method: by name, with the parameters ``chosen``.
      chosen: parameters of the method.
      base:   given with ``--base``, to check the adapters against.
      models: the adapters.
      asked:  rank and space of the output.
      writer: where and how to write.
      output: where to say what.
      checks: what is asked beyond the weights.
    """
    from mergebarrier import verbs
    from mergebarrier.checkpoint import is_adapter
    from mergebarrier.merge import DATA_MERGES, make, parameters
    from mergebarrier.merge.adapters import plan_adapters

    if method in DATA_MERGES:
        raise UsageError(
            "needs whole models and cannot merge adapters into an adapter", where=method, remedy="leave --as out"
        )
    whole = next((model for model in models if model.is_dir() and not is_adapter(model)), None)
    if whole is not None:
        raise UsageError("--as adapter needs adapters, and this is a whole model", where=whole, remedy="leave --as out")
    merge = make(method, **chosen)
    with ExitStack() as stack:
        folders = verbs.Models(stack)
        opened = folders.model(base) if base is not None else None
        adapters = [folders.adapter(model) for model in models]
        planned = plan_adapters(adapters, lambda _: merge, rank=asked.rank, space=asked.lora_space, base=opened)
        described = {"method": merge.name, "parameters": parameters(merge)}
        return run_adapters(planned, described, writer, output, checks)


def run_adapters(
    planned: "AdapterPlan", described: Mapping[str, Any], writer: WriterOptions, output: Output, checks: "Checks"
) -> int:
    """Show or run a plan, and say what was lost on the way."""
    from mergebarrier import verbs

    if checks.runs:
        raise UsageError("an adapter alone cannot be run", where="--check", remedy="merge --as model to measure it")
    for note in planned.notes:
        output.note(f"note: {note}")
    if writer.dry_run:
        document = {**described, **planned.summary()}
        return show_plan(document, verbs.by_adapters(planned, described), checks, output)
    with output.progress("merging") as progress:
        content = verbs.merge(verbs.by_adapters(planned, described), into(writer, progress), checks)
    note_findings(content, output)
    digest, residual = content["output"]["content_digest"], content["checks"]["residual"]
    document = {"kind": "merge", "out": writer.folder, "notes": planned.notes, "content_digest": digest}
    document |= {name: content[name] for name in (*described, *LINEAGE)}
    count = f"{len(planned.adapters)} adapters merged by {described['method']}"
    output.result(document, f"{writer.folder}: {count}, residual {residual:.3g} of the update, content {digest}")
    return 0
