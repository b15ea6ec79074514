"""One model folder into another, circuit by circuit, through ``run`` into a crash-proof writer.

checkpoint -> arch.gather -> protect or realign (symmetry inside) -> round once -> arch.scatter -> checkpoint
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from mergebarrier.arch import Architecture, Circuit, gather, scatter
from mergebarrier.checkpoint import Checkpoint, Writer, layout_like, read_manifest
from mergebarrier.errors import DigestMismatch
from mergebarrier.run import transform
from mergebarrier.verbs.output import OutputOptions, environment

if TYPE_CHECKING:
    from torch import Tensor

Change = Callable[[Circuit, list[dict[str, "Tensor"]]], Iterator[tuple[str, "Tensor"]]]


def in_logical_layout(change: Change) -> Callable[[Any, list[dict[str, "Tensor"]]], dict[str, "Tensor"]]:
    """Wrap a change of logical tensors so that ``run`` sees physical ones, rounded once to its dtypes."""

    def apply(circuit: Circuit, physical: list[dict[str, "Tensor"]]) -> dict[str, "Tensor"]:
        parts = [gather(circuit, tensors) for tensors in physical]
        for tensors in physical:
            # The logical views keep what is still needed, each until it is replaced: no circuit is held twice.
            tensors.clear()
        dtypes = {name: tensor.dtype for name, tensor in parts[0].items()}
        # One rounding, from whatever width the arithmetic had; the writer refuses a value that leaves the range.
        return scatter(circuit, {name: tensor.to(dtypes[name]) for name, tensor in change(circuit, parts)})

    return apply


def write_circuits(
    sources: Sequence[Checkpoint],
    architecture: Architecture,
    apply: Callable[[Any, list[dict[str, "Tensor"]]], dict[str, "Tensor"]],
    content: dict[str, Any],
    into: OutputOptions,
    *,
    expected: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Stream the circuits through ``apply`` into a new folder and commit it."""
    donor = sources[0]
    writer = Writer.create(
        into.out,
        layout_like(donor),
        plan={name: value for name, value in content.items() if name != "diagnostics"},
        inputs=[folder for source in sources for folder in source.folders],
        resume=into.resume,
        overwrite=into.overwrite,
    )
    with closing(writer):
        transform(
            sources,
            writer,
            architecture.circuits,
            apply,
            workers=into.workers,
            max_ram_bytes=into.max_ram_bytes,
            progress=into.progress,
        )
        odd = next((name for name in expected or () if (expected or {})[name] != writer.digests[name]), None)
        if odd is not None:
            raise DigestMismatch(
                "the restored bytes differ from those that were protected",
                where=f"{into.out}: {odd}",
                remedy="use the mergebarrier version that protected this model",
            )
        side_files = {name: donor.read_side_file(name) for name in donor.side_files}
        writer.commit(content, environment(), side_files, workers=into.workers)
    return dict(read_manifest(into.out)["content"])


@contextmanager
def circuit_map(workers: int) -> Iterator[Callable[..., Any]]:
    """Give a ``map`` over circuits on ``workers`` threads of one kernel thread each."""
    import torch

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)
