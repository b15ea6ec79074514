"""Dead layers: ``widen --dead-layers N`` puts layers between those of a model that compute something and add nothing.

    x <- x + f(x),   f reads as the layer before it does,   all that f writes is 0

They stand at places drawn from the key, behind any layer but the first, so that what a tool takes for layer 12 of the
protected model is another of its relatives.  Every bit of the output stays as it was; each costs the time, the memory
and the keys and values of a layer.  A configuration says of every layer what it said where that came from.

Source: ours.  Zeros show in the file: ``realign --method fold_width`` takes such layers out again, without a base.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from mergebarrier import symmetry
from mergebarrier.errors import ConfigMismatch, MethodRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from mergebarrier.circuits import Circuit
    from mergebarrier.protect.protection import Context, Pieces, Prepared, Table

_FLAG, _LEAVE = "--dead-layers", "leave --dead-layers out"


def beside(context: "Context", count: int, widened: "Callable[[Context], Prepared]") -> "Prepared":
    """Return what was prepared, with so many dead layers between those of the model, or with them taken out again.

    Raises: MethodRefused for a model no layer of which could be dead.
    """
    why = symmetry.no_identity(context.architecture, context.checkpoint.config)
    if why:
        raise MethodRefused(why, where=_FLAG, remedy=_LEAVE)
    return _without(context, count, widened) if context.undone is not None else _with(context, count, widened)


def _places(context: "Context", layers: int, count: int) -> list[int]:
    """Return the layers, of a stack of so many, behind which dead ones stand, in order; a dry run has no key."""
    import numpy as np

    drawn = np.arange(layers - 1)
    if context.streams is not None:
        drawn = symmetry.permutation(context.streams("layers", "widen dead"), layers - 1)
    return sorted(int(one) + 1 for one in np.resize(drawn, count))


def _origins(context: "Context", layers: int, count: int) -> tuple[list[int], frozenset[int]]:
    """Return which layer every one of the longer stack is a copy of, and the places of those that are dead."""
    origins = sorted([*range(layers), *_places(context, layers, count)])
    return origins, frozenset(place for place, one in enumerate(origins) if place and one == origins[place - 1])


def _with(context: "Context", count: int, widened: "Callable[[Context], Prepared]") -> "Prepared":
    checkpoint, architecture, prepared = context.checkpoint, context.architecture, widened(context)
    origins, dead = _origins(context, symmetry.depth(architecture), count)
    config = {**checkpoint.config, **prepared.config}
    try:
        stack = symmetry.Restacked.of(checkpoint, architecture, origins, silent=dead, config=config)
    except ConfigMismatch as fault:
        raise MethodRefused(fault.what, where=_FLAG, remedy=_LEAVE) from fault
    assert prepared.layout is not None

    def apply(circuit: "Circuit", tensors: "Table") -> "Pieces":
        return stack.placed(circuit, prepared.apply(circuit, tensors), checkpoint)

    return replace(
        prepared,
        layout=stack.layout(prepared.layout, checkpoint),
        names=stack.written,
        config={**prepared.config, **stack.config},
        apply=apply,
        stages=None,
        limit=" ".join([prepared.limit, *(f"{note}." for note in stack.notes)]),
        variant=", ".join([*filter(None, [prepared.variant]), f"{count} dead layers"]),
    )


def _without(context: "Context", count: int, widened: "Callable[[Context], Prepared]") -> "Prepared":
    from mergebarrier.circuits import describe

    checkpoint, architecture = context.checkpoint, context.architecture
    layers = symmetry.depth(architecture)
    if layers - count < 2:
        raise MethodRefused(f"{layers} layers cannot hold {count} dead ones", where=checkpoint.path, remedy=_LEAVE)
    _, dead = _origins(context, layers - count, count)
    stack = symmetry.Restacked.of(checkpoint, architecture, [one for one in range(layers) if one not in dead])
    short = stack.view(checkpoint)
    inner = describe(short)
    prepared = widened(replace(context, checkpoint=short, architecture=inner))
    circuits = {name: circuit for circuit in inner.circuits for name in circuit.tensors}

    def alive(circuit: "Circuit") -> "Circuit | None":
        return next((circuits[name] for name in stack.written[circuit.name]), None)

    def invert(circuit: "Circuit", tensors: "Table") -> "Iterator[tuple[str, Tensor]]":
        inside = alive(circuit)
        if inside is not None:
            assert prepared.invert is not None
            yield from prepared.invert(inside, stack.taken(circuit, tensors))

    def before(circuit: "Circuit") -> "Circuit | None":
        inside = alive(circuit)
        return inside if inside is None or prepared.before is None else prepared.before(inside)

    restored = prepared.restored
    return replace(
        prepared,
        invert=invert,
        before=before,
        restored=replace(restored, names=stack.written, config={**stack.config, **restored.config}),
    )
