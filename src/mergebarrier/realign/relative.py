"""Is a model an ordinary fine-tune of a base, a fine-tune in other coordinates, or unrelated?

A fine-tune is close to its base; one that was protected by a symmetry is far away until its coordinates are
estimated, and next to it afterwards; an unrelated model stays far away. Three layers tell, seen through part of the
stream's coordinates, so the cost does not grow with depth, and an ordinary fine-tune costs a look at a few rows.

    before = cos(W, W_base)     after = cos(g^-1 W, W_base)     per kind of circuit, g estimated as ``gaugefix`` does
    ordinary: before >= 0.9 | protected: after >= 0.7 and after - before >= 0.15 for a kind | unrelated: neither > 0.5

Source: the diagnostics of ``gaugefix``. Differs: one sweep, sampled rows and coordinates; it decides and moves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mergebarrier import symmetry
from mergebarrier.arch import LOGICAL, Architecture, Circuit, gather
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.realign.realignment import Tensors, cosine, folded, read
from mergebarrier.symmetry import Correlation, Residual

ORDINARY_COSINE = 0.9
PROTECTED_COSINE = 0.7
PROTECTED_RISE = 0.15
UNRELATED_COSINE = 0.5
#: Rows of a matrix that are compared before anything is estimated.
_GLANCE_ROWS = 64
#: Rows of the vocabulary that the stream is estimated from, in so many runs spread over it.
_VOCABULARY_ROWS = 2048
_VOCABULARY_RUNS = 8
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
    stream = symmetry.residual_space(architecture.dims)
    undo = stream.inverse(stream.from_correlation(_correlate(architecture, stream, model, base)))
    after = _means([(circuit.kind, _matched(circuit, stream, undo, model, base)) for circuit in sample])
    if any(after[kind] >= PROTECTED_COSINE and after[kind] - before[kind] >= PROTECTED_RISE for kind in after):
        return Relation("protected", before, after)
    near = max(*before.values(), *after.values()) > UNRELATED_COSINE
    return Relation("unclear" if near else "unrelated", before, after)


def _sample(architecture: Architecture) -> list[Circuit]:
    """Return the circuits of the first, the middle and the last layer."""
    inner = [circuit for circuit in architecture.circuits if circuit.kind in ("attn", "mlp")]
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


def _correlate(architecture: Architecture, stream: Residual, model: Checkpoint, base: Checkpoint) -> Correlation:
    """Return how coordinates of the two streams go together in rows spread over the vocabulary."""
    total = Correlation.zero(stream.hidden)
    for circuit in architecture.circuits:
        if circuit.kind not in ("embed", "head"):
            continue
        n_rows = model.tensors[circuit.tensors[0]].shape[0]
        run = max(1, min(n_rows, _VOCABULARY_ROWS) // _VOCABULARY_RUNS)
        step = max(run, n_rows // _VOCABULARY_RUNS)
        for start in range(0, n_rows - run + 1, step):
            now, then = (
                gather(circuit, {name: side.read_rows(name, start, start + run) for name in circuit.tensors})
                for side in (model, base)
            )
            total = total + stream.correlate(now, then)
    return total


def _matched(
    circuit: Circuit, stream: Residual, undo: symmetry.SignedPermutation, model: Checkpoint, base: Checkpoint
) -> float:
    """Cosine of one circuit once stream, heads, bases inside heads and neurons are matched."""
    now = _narrow(stream.act(undo, folded(read(circuit, model))))
    then = _narrow(folded(read(circuit, base)))
    spaces = symmetry.spaces(circuit)
    for name in [name for name in reversed(spaces) if name != symmetry.RESIDUAL]:
        element = spaces[name].estimate(now, then)
        now = spaces[name].act(spaces[name].inverse(element), now)
    return cosine(now, then)


def _narrow(tensors: Tensors) -> dict[str, Tensor]:
    """Keep the first coordinates of the stream: what a map inside the circuit cannot see, it cannot depend on."""
    kept = {}
    for name, tensor in tensors.items():
        stream = LOGICAL[name].stream
        kept[name] = tensor[:, :_COORDINATES] if stream == "columns" else tensor[:_COORDINATES] if stream else tensor
    return kept
