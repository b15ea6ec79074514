"""``exact --residual rotate``: the residual stream in another basis, for models whose head is no embedding.

    W <- W diag(gain), gain <- 1;      readers W <- W Q^T,  writers W <- Q W,  embedding E <- E Q^T,  Q from the key

All that ``exact`` does beside the stream is done too.  The gains that were folded stand in no key, so nothing brings
them back: the owner keeps the original.  Dense, so every weight is rounded once; a 16-bit file pays that with noise.

Source: QuaRot (arXiv 2404.00456) for the fold.  Limit: rows of the vocabulary correspond, so the base gives Q away by
one singular value decomposition (``realign gaugefix``).
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from mergebarrier import symmetry
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from mergebarrier.circuits import Circuit
    from mergebarrier.protect.protection import Context, Pieces, Prepared, Table, Tensors
    from mergebarrier.symmetry import Element, Rotatable, Ways


def rotated(context: "Context", prepared: "Prepared") -> "Prepared":
    """Return what was prepared with a rotation of the stream behind it.

    Raises: MethodRefused for a model whose stream may not be rotated.
    """
    found = symmetry.rotatable(context.architecture)
    if isinstance(found, str):
        raise MethodRefused(f"this stream cannot be rotated: {found}", where="--residual rotate",
                            remedy="use --residual order")  # fmt: skip
    narrow = next((name for name, info in context.checkpoint.tensors.items() if info.dtype == "F16"), None)
    if narrow is not None:
        raise MethodRefused("a rotation needs bfloat16 or wider, this tensor is float16", where=narrow,
                            remedy="use --residual order")  # fmt: skip
    stream: Rotatable = found

    @cache
    def rotation() -> "Element":
        assert context.streams is not None
        n = context.architecture.circuits[0].sizes[stream.axis]
        return symmetry.basis(context.streams("residual", "rotate"), n, 1, "full", 1.0)

    def apply(circuit: "Circuit", tensors: "Table") -> "Pieces":
        _fold(circuit, tensors, context, stream)
        moved = dict(_whole(prepared.apply(circuit, tensors)))
        return symmetry.act_rows(circuit, {(stream.axis, ()): rotation()}, moved)

    def stages(circuit: "Circuit", tensors: "Tensors") -> "Sequence[Ways]":
        assert prepared.stages is not None
        turned = symmetry.ways(circuit, {(stream.axis, ()): rotation()})
        return (_ways(circuit, tensors, context, stream), *prepared.stages(circuit, tensors), turned)

    return replace(
        prepared,
        apply=apply,
        stages=stages,
        invert=None,
        variant=f"{prepared.variant}, rotated",
        parameters={**prepared.parameters, "residual": "rotate"},
        reversibility="none",
        determinism="profile",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldedGain:
    """A reader that takes the gain of a norm on one of its axes, or, without one, the norm that gave it."""

    becomes: str
    place: int = 0
    gain: "Tensor | None" = None
    rows_keep_apart: bool = True
    columns_keep_apart: bool = True
    splits: bool = True

    @property
    def lost(self) -> str:
        """Why another norm would not be used as it is."""
        return "" if self.gain is not None else "the gain of this norm is in what reads it"

    @property
    def keeps_rows(self) -> bool:
        """Whether the gain belongs to columns."""
        return self.place > 0

    def whole(self, tensor: "Tensor") -> "Tensor":
        """Return it with the gain, in float64; the norm with none."""
        if self.gain is None:
            return torch.zeros_like(tensor)
        shape = [-1 if one == self.place else 1 for one in range(tensor.dim())]
        return tensor.double() * self.gain.reshape(shape)

    def left(self, x: "Tensor") -> "Tensor":
        """Return L X."""
        return x if self.keeps_rows else self.whole(x)

    def right(self, y: "Tensor") -> "Tensor":
        """Return Y R."""
        return self.whole(y) if self.keeps_rows else y


def _ways(circuit: "Circuit", tensors: "Tensors", context: "Context", stream: "Rotatable") -> "dict[str, FoldedGain]":
    """Return which reader takes which gain, and which norms gave theirs; the last norm's goes to the head."""
    offset, found = circuit.family.offset, dict[str, FoldedGain]()
    for member in circuit.members:
        norm = circuit.norm_of(member)
        if norm is not None and member.canonical.endswith(".weight"):
            found[norm.name] = FoldedGain(becomes=norm.name)
            gain = tensors[norm.name].double() + offset
        elif member.name == stream.head.name:
            gain = context.checkpoint.read(stream.last.name).double() + offset
        else:
            if member.name == stream.last.name:
                found[member.name] = FoldedGain(becomes=member.name)
            continue
        place = next(place for place, node in enumerate(member.nodes) if getattr(node, "axis", "") == stream.axis)
        found[member.name] = FoldedGain(becomes=member.name, gain=gain, place=place)
    return found


def _fold(circuit: "Circuit", tensors: "Table", context: "Context", stream: "Rotatable") -> None:
    """Give the gains of norms to their readers, in float64."""
    ways = _ways(circuit, tensors, context, stream)
    for name, way in ways.items():
        tensors[name] = (
            torch.full_like(tensors[name], 1.0 - circuit.family.offset) if way.lost else way.whole(tensors[name])
        )


def _whole(pieces: "Pieces") -> "Pieces":
    """Put blocks of rows together."""
    rows: dict[str, list[Tensor]] = {}
    for name, block in pieces:
        rows.setdefault(name, []).append(block)
    for name, found in rows.items():
        yield name, found[0] if len(found) == 1 else torch.cat(found)
