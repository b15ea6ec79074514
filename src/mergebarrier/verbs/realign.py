"""``realign``: a model folder in the coordinates of its base, without a key; and the same in memory, as a measure."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict, cast

import torch

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.circuits import CIRCUITS, Circuit, describe, require_same
from mergebarrier.errors import NothingToAlign
from mergebarrier.identity import matched
from mergebarrier.progress import Progress
from mergebarrier.realign import Fitted, GaugeFix, ParallelMap, Realignment
from mergebarrier.run import Change, Tables, change_rows, whole
from mergebarrier.verbs.folders import OutputOptions, input_of, write_circuits
from mergebarrier.verbs.inputs import licence

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import AnyContent, Fit, RealignFacts


def realign(
    model: Checkpoint, base: Checkpoint, realignment: Realignment, into: OutputOptions
) -> "tuple[AnyContent, Fit]":
    """Write ``model`` in the coordinates of ``base``, without any key.

    Returns: (content of the manifest, diagnostics of the fit).
    Raises:  BaseMismatch, NothingToAlign, ArchError, CheckpointError.
    """
    base = matched(model, base)
    architecture, anchor = describe(model), describe(base)
    require_same(architecture, anchor, where=base.path)
    if model.digests(workers=into.workers) == base.digests(workers=into.workers):
        raise NothingToAlign("model and base have the same weights", where=model.path, remedy="give a fine-tuned model")
    with _circuit_map(into.workers) as parallel:
        fitted = realignment.fit(architecture, model, base, parallel=parallel)
    diagnostics = cast("Fit", fitted.diagnostics)
    facts: RealignFacts = {
        "verb": "realign",
        "method": realignment.name,
        "parameters": dict(vars(realignment)),
        "inputs": [input_of("model", model), input_of("base", base)],
        "diagnostics": diagnostics,
        "licences": [licence(model), licence(base)],
    }
    return write_circuits((model, base), architecture, _realigning(fitted), facts, into), diagnostics


class Reach(TypedDict):
    """What a realignment would work on."""

    family: str
    circuits: int
    tensors: int


def check_realign(model: Checkpoint, base: Checkpoint) -> Reach:
    """Return what ``realign`` would work on, after the checks that need no weights."""
    architecture = describe(model)
    require_same(architecture, describe(matched(model, base)), where=base.path)
    return {"family": architecture.family, "circuits": len(architecture.circuits), "tensors": len(model.tensors)}


class Undone(TypedDict):
    """How much of a protection the attack takes back, 100 (1 - |recovered - original| / |protected - original|) %."""

    undone_pct: float
    seconds: float
    attack: str
    diagnostics: dict[str, object]


def undone_by_realignment(
    original: Checkpoint, protected: Checkpoint, base: Checkpoint, *, workers: int = 1, progress: Progress | None = None
) -> Undone:
    """Attack a protected model with ``gaugefix`` in memory and measure what is left of the change, writing nothing.

    Raises: BaseMismatch, NothingToAlign, CheckpointError.
    """
    started = time.perf_counter()
    architecture, base = describe(protected), matched(protected, base)
    require_same(architecture, describe(base), where=base.path)
    with _circuit_map(workers) as parallel:
        fitted = GaugeFix().fit(architecture, protected, base, parallel=parallel)
        left = changed = 0.0
        for done, circuit in enumerate(architecture.circuits, start=1):
            published, ours = ({name: side.read(name) for name in circuit.tensors} for side in (protected, original))
            recovered = _recovered(circuit, protected, base, _realigning(fitted))
            left += sum(float((recovered[name].float() - ours[name].float()).square().sum()) for name in ours)
            changed += sum(float((published[name].float() - ours[name].float()).square().sum()) for name in ours)
            if progress is not None:
                progress(done, len(architecture.circuits))
    undone = 100.0 * (1.0 - (left / changed) ** 0.5) if changed else 0.0
    return {
        "undone_pct": undone,
        "seconds": time.perf_counter() - started,
        "attack": "gaugefix",
        "diagnostics": fitted.diagnostics,
    }


class _Kept(dict[str, torch.Tensor]):
    """Takes the tensors of one unit, whole."""

    def put(self, name: str, tensor: torch.Tensor) -> None:
        self[name] = tensor

    def put_rows(self, name: str, start_row: int, tensor: torch.Tensor) -> None:
        raise AssertionError(f"{name} comes whole, not from row {start_row}: {tuple(tensor.shape)}")


def _recovered(
    circuit: Circuit, protected: Checkpoint, base: Checkpoint, change: Change[Circuit]
) -> dict[str, torch.Tensor]:
    """Return the stored tensors of a circuit as the attack leaves them."""
    kept = _Kept()
    change_rows((protected, base), kept, circuit, whole(circuit, protected), change, CIRCUITS)
    return kept


def _realigning(fitted: Fitted) -> Change[Circuit]:
    def change(circuit: Circuit, tables: Tables) -> dict[str, torch.Tensor]:
        return fitted.apply(circuit, *tables)

    return change


@contextmanager
def _circuit_map(workers: int) -> Iterator[ParallelMap]:
    """Give a ``map`` over circuits on ``workers`` threads of one kernel thread each."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)
