"""Is a model an ordinary fine-tune of a base, a fine-tune in other coordinates, or unrelated?

A fine-tune is close to its base; one that was protected by a symmetry is far away until its coordinates are
estimated, and next to it afterwards; an unrelated model stays far away. Three layers tell, seen through part of the
stream's coordinates, so the cost does not grow with depth, and an ordinary fine-tune costs a look at a few rows.

    before = cos(W, W_base)     after = cos(g^-1 W, W_base)     per kind of circuit, g estimated as ``gaugefix`` does
    ordinary: before >= 0.9 | protected: after >= 0.7 and after - before >= 0.15 for a kind | unrelated: neither > 0.5

Source: the diagnostics of ``gaugefix``. Differs: one sweep, sampled rows and coordinates; it decides and moves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from mergebarrier import symmetry
from mergebarrier.arch import leaves
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.circuits import Architecture, Circuit, Instance
from mergebarrier.realign.realignment import Folded, cosines, read
from mergebarrier.realign.streams import plain_correlation, streams_of
from mergebarrier.symmetry import Element, Elements, Tensors

ORDINARY_COSINE = 0.9
PROTECTED_COSINE = 0.7
PROTECTED_RISE = 0.15
UNRELATED_COSINE = 0.5
#: Rows of a matrix that are compared before anything is estimated.
_GLANCE_ROWS = 64
#: Rows of the vocabulary that the stream is estimated from.
_VOCABULARY_ROWS = 2048
#: Coordinates of the stream that the inside of a circuit is seen through.
_COORDINATES = 512


@dataclass(frozen=True)
class Relation:
    """How a model relates to a base.

    Attributes:
      kind:   "ordinary", "protected", "unrelated", or "unclear" (far from the base, and no symmetry explains it).
      before: kind of circuit -> mean cosine as stored.
      after:  the same once coordinates are estimated; empty where that was not needed.
    """

    kind: str
    before: dict[str, float]
    after: dict[str, float]


def relation(architecture: Architecture, model: Checkpoint, base: Checkpoint) -> Relation:
    """Compare a model with a base of the same architecture.

    Args:
      architecture: of both; ``arch.require_same`` has passed.
      model:        what may be a fine-tune of ``base``.
      base:         the public base.
    Returns: Relation.
    Numerics: cosines are sampled, to about 0.01; deterministic.
    """
    sample = _sample(architecture)
    glances = [(circuit.kind, _glance(circuit, model, base)) for circuit in sample]
    before = _means(glances)
    if min(before.values()) >= ORDINARY_COSINE:
        return Relation("ordinary", before, {})
    streams: dict[Instance, Element] = {}
    for axis in streams_of(architecture):
        found = plain_correlation(architecture, axis, model, base, _VOCABULARY_ROWS)
        streams[axis, ()] = symmetry.signed_order(found, architecture.axis(axis).kind)
    after = _means([(circuit.kind, _matched(circuit, streams, model, base)) for circuit in sample])
    if any(after[kind] >= PROTECTED_COSINE and after[kind] - before[kind] >= PROTECTED_RISE for kind in after):
        return Relation("protected", before, after)
    near = max(*before.values(), *after.values()) > UNRELATED_COSINE
    return Relation("unclear" if near else "unrelated", before, after)


def _sample(architecture: Architecture) -> list[Circuit]:
    """Return the circuits of the first, the middle and the last layer."""
    inner = [circuit for circuit in architecture.circuits if any(circuit.axis(one).scope for one in circuit.instances)]
    layers = list(dict.fromkeys(circuit.name.rpartition(".")[0] for circuit in inner))
    chosen = {layers[0]: None, layers[len(layers) // 2]: None, layers[-1]: None}
    return [circuit for circuit in inner if circuit.name.rpartition(".")[0] in chosen]


def _means(figures: Sequence[tuple[str, float]]) -> dict[str, float]:
    by_kind: dict[str, list[float]] = {}
    for kind, figure in figures:
        by_kind.setdefault(kind, []).append(figure)
    return {kind: sum(values) / len(values) for kind, values in by_kind.items()}


def _glance(circuit: Circuit, model: Checkpoint, base: Checkpoint) -> float:
    """Cosine over the first rows of the circuit's matrices, as stored."""
    dot = now_energy = then_energy = 0.0
    for name in circuit.tensors:
        info = model.tensors[name]
        if len(info.shape) != 2:
            continue
        rows = min(_GLANCE_ROWS, info.shape[0])
        now, then = (side.read_rows(name, 0, rows).double() for side in (model, base))
        dot += float((now * then).sum())
        now_energy += float(now.square().sum())
        then_energy += float(then.square().sum())
    size = (now_energy * then_energy) ** 0.5
    return dot / size if size else 0.0


def _matched(circuit: Circuit, streams: Elements, model: Checkpoint, base: Checkpoint) -> float:
    """Cosine of one circuit once stream, heads, bases inside heads and neurons are matched."""
    here = {one: streams[one] for one in circuit.instances if one in streams}
    aligned = symmetry.Reverted(circuit, here, Folded(circuit, read(circuit, model)))
    narrow = replace(
        circuit, sizes={**circuit.sizes, **{axis: min(circuit.sizes[axis], _COORDINATES) for axis, _ in here}}
    )
    now, then = _narrow(narrow, aligned), _narrow(narrow, Folded(circuit, read(circuit, base)))
    elements = symmetry.estimate(narrow, now, then, known=here)
    return cosines(narrow, then, symmetry.Reverted(narrow, elements, now))[0]


def _narrow(circuit: Circuit, tensors: Tensors) -> dict[str, Tensor]:
    """Keep the first coordinates of the streams: what a map inside the circuit cannot see, it cannot depend on."""
    kept = dict(tensors)
    for member in circuit.members:
        for place, node in enumerate(member.nodes):
            axes = [leaf.axis for leaf in leaves(node)]
            if len(axes) == 1 and axes[0] in circuit.family.axes and not circuit.family.axes[axes[0]].scope:
                kept[member.name] = kept[member.name].narrow(place, 0, circuit.sizes[axes[0]])
    return kept
