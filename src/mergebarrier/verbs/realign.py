"""``realign``: a model folder in the coordinates of its base, without a key; and the same in memory, as a measure."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypedDict, TypeVar, cast

import torch

from mergebarrier.checkpoint import Checkpoint, OutputFolder, open_checkpoint
from mergebarrier.checkpoint.bytes import one_thread_pool
from mergebarrier.circuits import CIRCUITS, Architecture, Circuit, describe, left_unsaid, require_same, unsaid
from mergebarrier.errors import NothingToAlign, UsageError
from mergebarrier.identity import matched
from mergebarrier.progress import Progress
from mergebarrier.realign import Auto, Fitted, GaugeFix, ParallelMap, Realignment, seen_in
from mergebarrier.run import (
    Change,
    Changed,
    Placed,
    Tables,
    change_rows,
    one_thread_kernels,
    placed,
    placed_change,
    whole,
)
from mergebarrier.verbs.folders import OutputOptions, input_of, write_circuits
from mergebarrier.verbs.inputs import licence

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import AnyContent, Fit, RealignFacts

_T = TypeVar("_T")
_R = TypeVar("_R")

# Fitting a circuit takes about as long as writing it so many times, for an estimate of the time that is left.
_FIT_COST = 4


def realign(
    model: Checkpoint, base: Checkpoint | None, realignment: Realignment, into: OutputOptions, device: str = "cpu"
) -> "tuple[AnyContent, Fit]":
    """Write ``model`` without its protection, without any key: in the coordinates of ``base``, if one is needed.

    Args:
      model:       what is undone.
      base:        the public base; None where the realignment needs none.
      realignment: the attack.
      into:        how the folder is written.
      device:      where it is fitted and circuits are moved, as ``device_named`` returns it.
    Returns: (content of the manifest, diagnostics of the fit).
    Raises:  UsageError without a base that is needed; BaseMismatch, NothingToAlign, ArchError, MethodRefused,
      CheckpointError.
    """
    if isinstance(realignment, Auto):
        return _chained(model, base, realignment, into, device, [])
    _check_base(model, base, realignment)
    anchor = None if base is None or not realignment.needs_base else matched(model, base)
    architecture = _architecture(model, anchor)
    if anchor is not None and model.digests(workers=into.workers) == anchor.digests(workers=into.workers):
        raise NothingToAlign("model and base have the same weights", where=model.path, remedy="give a fine-tuned model")
    size = sum(info.nbytes for info in model.tensors.values())
    stages = _Stages(into.progress, fit=_FIT_COST * size // len(architecture.circuits), rest=size)
    sides = [one if device == "cpu" else Placed(one, device) for one in (model, anchor) if one is not None]
    with _circuit_map(into.workers, stages.fitted, device) as parallel:
        fitted = placed(realignment.fit, device)(architecture, sides[0], sides[-1], parallel=parallel)
    into = replace(into, progress=stages.written)
    diagnostics = cast("Fit", fitted.diagnostics)
    sources = (model,) if anchor is None else (model, anchor)
    facts: RealignFacts = {
        "verb": "realign",
        "method": realignment.name,
        "parameters": dict(vars(realignment)),
        "inputs": [input_of(role, side) for role, side in zip(("model", "base"), sources, strict=False)],
        "diagnostics": diagnostics,
        "licences": [licence(side) for side in sources],
    }
    if device != "cpu":
        facts["device"] = device
    change = placed_change(_realigning(fitted), device)
    output = fitted.output if anchor is None else _said_as(anchor, model, architecture, fitted.output)
    content = write_circuits(sources, architecture, change, facts, into, output=output)
    return content, diagnostics


def _chained(
    model: Checkpoint, base: Checkpoint | None, auto: Auto, into: OutputOptions, device: str, seen: list[str]
) -> "tuple[AnyContent, Fit]":
    """Undo what a model shows; where that leaves something to look at, beside the output, look again."""
    shows, method = auto.step(describe(model), model, base)
    if method.needs_base or base is None:
        content, found = realign(model, base, method, into, device)
    else:
        with TemporaryDirectory(dir=into.out.absolute().parent, prefix=f"{into.out.name}.") as folder:
            between = replace(into, out=Path(folder) / "step", resume=False)
            realign(model, None, method, between, device)
            with open_checkpoint(between.out) as left:
                return _chained(left, base, auto, into, device, [*seen, shows])
    found["seen"] = [*seen, shows or seen_in(found["spaces_moved"], behind=bool(seen))]
    return content, found


def _said_as(anchor: Checkpoint, model: Checkpoint, architecture: Architecture, output: OutputFolder) -> OutputFolder:
    """Leave the sizes to their defaults that the base leaves to them; what folded a model could not know of it."""
    theirs = describe(anchor)
    if theirs.circuits[0].sizes != architecture.circuits[0].sizes:
        return output
    ours = unsaid(model.config, architecture)
    how = {key: word for key, word in unsaid(anchor.config, theirs).items() if key not in ours}
    return left_unsaid(output, model.config, how)


def _check_base(model: Checkpoint, base: Checkpoint | None, realignment: Realignment) -> None:
    if base is None and realignment.needs_base:
        raise UsageError(f"{realignment.label} needs the public base of {model.path.name}", where="--base",
                         remedy="give --base, or any unprotected relative of the model")  # fmt: skip


def _architecture(model: Checkpoint, anchor: Checkpoint | None) -> Architecture:
    """Describe the model, and hold it against an anchor."""
    architecture = describe(model)
    if anchor is not None:
        require_same(architecture, describe(anchor), where=anchor.path)
    return architecture


class Reach(TypedDict):
    """What a realignment would work on."""

    family: str
    circuits: int
    tensors: int


def check_realign(model: Checkpoint, base: Checkpoint | None, realignment: Realignment | None = None) -> Reach:
    """Return what ``realign`` would work on, after the checks that need no weights; with ``GaugeFix`` by default."""
    realignment = realignment or GaugeFix()
    _check_base(model, base, realignment)
    architecture = _architecture(model, matched(model, base) if base is not None and realignment.needs_base else None)
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
    stages = _Stages(progress, fit=1, rest=len(architecture.circuits))
    with _circuit_map(workers, stages.fitted) as parallel:
        fitted = GaugeFix().fit(architecture, protected, base, parallel=parallel)
        left = changed = 0.0
        for done, circuit in enumerate(architecture.circuits, start=1):
            published, ours = ({name: side.read(name) for name in circuit.tensors} for side in (protected, original))
            recovered = _recovered(circuit, protected, base, _realigning(fitted))
            left += sum(float((recovered[name].float() - ours[name].float()).square().sum()) for name in ours)
            changed += sum(float((published[name].float() - ours[name].float()).square().sum()) for name in ours)
            stages.written(done, len(architecture.circuits))
    undone = 100.0 * (1.0 - (left / changed) ** 0.5) if changed else 0.0
    return {
        "undone_pct": undone,
        "seconds": time.perf_counter() - started,
        "attack": "gaugefix",
        "diagnostics": fitted.diagnostics,
    }


class _Kept(dict[str, list[torch.Tensor]]):
    """Takes the tensors of one unit, whole or row after row."""

    def put(self, name: str, tensor: torch.Tensor) -> None:
        self[name] = [tensor]

    def put_rows(self, name: str, start_row: int, tensor: torch.Tensor) -> None:
        del start_row
        self.setdefault(name, []).append(tensor)


def _recovered(
    circuit: Circuit, protected: Checkpoint, base: Checkpoint, change: Change[Circuit]
) -> dict[str, torch.Tensor]:
    """Return the stored tensors of a circuit as the attack leaves them."""
    kept = _Kept()
    change_rows((protected, base), kept, circuit, whole(circuit, protected), change, CIRCUITS)
    return {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in kept.items()}


def fit_in_memory(
    architecture: Architecture, model: Checkpoint, anchor: Checkpoint, realignment: Realignment, workers: int
) -> Fitted:
    """Fit a model to an anchor of its tensors' names, to be applied circuit by circuit."""
    with _circuit_map(workers, lambda done, total: None) as parallel:
        return realignment.fit(architecture, model, anchor, parallel=parallel)


def circuit_in_base_coordinates(
    circuit: Circuit, model: Checkpoint, anchor: Checkpoint, fitted: Fitted
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Return the stored tensors of a circuit as a fitted realignment leaves them."""
    return _recovered(circuit, model, anchor, _realigning(fitted))


def _realigning(fitted: Fitted) -> Change[Circuit]:
    def change(circuit: Circuit, tables: Tables) -> Changed:
        return fitted.apply(circuit, tables[0], tables[-1])

    return change


class _Stages:
    """Shows fitting, of which nobody knows how many sweeps it takes, and what follows as one count that never falls.

    Args:
      progress: what to tell.
      fit:      what one circuit that is fitted counts, in the units of what follows.
      rest:     how much follows.
    """

    def __init__(self, progress: Progress | None, *, fit: int, rest: int) -> None:
        self._progress, self._fit, self._rest, self._done = progress, fit, rest, 0

    def fitted(self, done: int, total: int) -> None:
        """Take the circuits that are fitted, of those that will be as far as is known."""
        self._done = done * self._fit
        if self._progress is not None:
            self._progress(self._done, total * self._fit + self._rest)

    def written(self, done: int, total: int) -> None:
        """Take how far what follows is."""
        if self._progress is not None:
            self._progress(self._done + done, self._done + total)


@contextmanager
def _circuit_map(workers: int, progress: Progress, device: str = "cpu") -> Iterator[ParallelMap]:
    """Give a ``map`` over circuits on ``workers`` threads of one kernel thread each, which tells how far it is."""
    finished = 0

    def parallel(function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        nonlocal finished
        chosen = list(items)
        total = finished + len(chosen)
        mapped = _mapped_alone if workers == 1 else pool.map
        for result in mapped(placed(function, device), chosen):
            finished += 1
            progress(finished, total)
            yield result

    with one_thread_pool(workers) as pool:
        yield parallel


def _mapped_alone(function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """Map in the thread that asks, as the threads of a pool would."""
    for item in items:
        with one_thread_kernels():
            result = function(item)
        yield result
