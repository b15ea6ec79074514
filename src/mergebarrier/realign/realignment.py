"""What an attack on a protection by realignment is: fit once against an anchor, then act circuit by circuit.

``fit`` looks at the protected model and the anchor (the public base, or any unprotected relative) and returns a
``Fitted``; its ``apply`` maps the tensors of one circuit into the anchor's coordinates.  No data, no training, no key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit, Member
    from mergebarrier.symmetry import Tensors

_T = TypeVar("_T")
_R = TypeVar("_R")


class ParallelMap(Protocol):
    """The built-in ``map`` over one sequence, or one that shares the work among threads."""

    def __call__(self, function: Callable[[_T], _R], items: Iterable[_T], /) -> Iterable[_R]:
        """Yield what ``function`` returns for every item, in order."""
        ...


# Rows of an embedding that are held at once while correlations are summed.
BLOCK_ROWS = 8192


class Fitted(Protocol):
    """A fitted realignment."""

    @property
    def diagnostics(self) -> dict[str, object]:
        """Return what the fit found, ready for JSON."""
        ...

    def apply(self, circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
        """Return tensors in the anchor's coordinates; row blocks are fine where the circuit is rowwise."""
        ...


class Realignment(Protocol):
    """A frozen, keyword-only dataclass of declared hyper-parameters with ``fit``."""

    name: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    preserves_function: ClassVar[bool]

    @property
    def label(self) -> str:
        """Return the name for people, which distinguishes variants."""
        ...

    @property
    def about(self) -> str:
        """Say in a few words what sets it apart."""
        ...

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> Fitted:
        """Fit ``model`` to ``anchor``; ``parallel`` maps a function over circuits, results in order."""
        ...


def read(circuit: Circuit, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the tensors of a circuit."""
    return {name: checkpoint.read(name) for name in circuit.tensors}


def row_blocks(circuit: Circuit, checkpoint: Checkpoint) -> Iterator[dict[str, Tensor]]:
    """Yield a rowwise circuit in blocks of rows, any other whole."""
    if not circuit.rowwise or len(circuit.tensors) > 1:
        yield read(circuit, checkpoint)
        return
    (name,) = circuit.tensors
    n_rows = checkpoint.tensors[name].shape[0]
    for start in range(0, n_rows, BLOCK_ROWS):
        yield {name: checkpoint.read_rows(name, start, min(start + BLOCK_ROWS, n_rows))}


def folded(circuit: Circuit, tensors: Tensors) -> dict[str, Tensor]:
    """Move gain and shift of every norm into the readers behind it, float32: a form that no gain trade changes.

    W <- W diag(gain), b <- b + W shift (before the gain is folded), gain <- 1, shift <- 0.
    """
    moved = {name: tensor.float() for name, tensor in tensors.items()}
    by_canonical = {member.canonical: member.name for member in circuit.members}
    for member in circuit.members:
        norm = circuit.norm_of(member)
        if norm is None or not member.canonical.endswith(".weight"):
            continue
        place = stream_place(circuit, member, norm)
        gain, shift = tensors[norm.name].float() + circuit.family.offset, by_canonical.get(f"{norm.stem}.bias")
        bias = by_canonical.get(f"{member.stem}.bias")
        weight = moved[member.name]
        if shift is not None and bias is not None:
            moved[bias] = moved[bias] + weight.movedim(place, -1) @ tensors[shift].float()
        moved[member.name] = weight * broadcast(gain, place, weight.dim())
    for norm in norms(circuit):
        shift = by_canonical.get(f"{norm.stem}.bias")
        moved[norm.name] = moved[norm.name].new_full(moved[norm.name].shape, 1.0 - circuit.family.offset)
        if shift is not None:
            moved[shift] = moved[shift].new_zeros(moved[shift].shape)
    return moved


def norms(circuit: Circuit) -> list[Member]:
    """Return the norms of a circuit that can be folded into their readers."""
    found = [circuit.norm_of(member) for member in circuit.members]
    return list({norm.canonical: norm for norm in found if norm is not None}.values())


def stream_place(circuit: Circuit, reader: Member, norm: Member) -> int:
    """Return the dimension on which a reader meets the stream that a norm belongs to."""
    del circuit
    (axis,) = norm.line.axes
    return next(place for place, node in enumerate(reader.nodes) if getattr(node, "axis", "") == axis)


def broadcast(vector: Tensor, place: int, dimensions: int) -> Tensor:
    """Return a vector that multiplies one dimension of a tensor."""
    return vector.reshape([-1 if other == place else 1 for other in range(dimensions)])


def cosine(tensors: Tensors, anchor: Mapping[str, Tensor]) -> float:
    """Return the cosine between all matrices of two circuits taken as one vector; 0 when either is silent."""
    names = [name for name in tensors if tensors[name].dim() > 1]
    dot = sum(float((tensors[name].float() * anchor[name].float()).sum()) for name in names)
    sizes = [sum(float(side[name].float().square().sum()) for name in names) ** 0.5 for side in (tensors, anchor)]
    return dot / (sizes[0] * sizes[1]) if all(sizes) else 0.0
