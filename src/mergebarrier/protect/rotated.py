"""``exact --residual rotate``: the residual stream in another basis, for models whose head is no embedding.

    W <- W diag(gain), gain <- 1;      readers W <- W Q^T,  writers W <- Q W,  embedding E <- E Q^T,  Q from the key

All that ``exact`` does beside the stream is done too.  The gains that were folded stand in no key, so nothing brings
them back: the owner keeps the original.  Dense, so every weight is rounded once; a 16-bit file pays that with noise.

Source: QuaRot (arXiv 2404.00456) for the fold.  Limit: rows of the vocabulary correspond, so the base gives Q away by
one singular value decomposition (``realign gaugefix``).
"""

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from mergebarrier import symmetry
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.circuits import Circuit
    from mergebarrier.protect.protection import Context, Pieces, Prepared, Table
    from mergebarrier.symmetry import Element, Rotatable


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

    return replace(
        prepared,
        apply=apply,
        stages=None,
        invert=None,
        variant=f"{prepared.variant}, rotated",
        parameters={**prepared.parameters, "residual": "rotate"},
        reversibility="none",
        determinism="profile",
    )  # fmt: skip


def _fold(circuit: "Circuit", tensors: "Table", context: "Context", stream: "Rotatable") -> None:
    """Give the gains of norms to their readers, in float64; the last norm's to the head."""
    offset = circuit.family.offset
    norms = []
    for member in circuit.members:
        norm = circuit.norm_of(member)
        if norm is not None and member.canonical.endswith(".weight"):
            norms.append(norm.name)
            gain = tensors[norm.name].double() + offset
        elif member.name == stream.head.name:
            gain = context.checkpoint.read(stream.last.name).double() + offset
        elif member.name == stream.last.name:
            norms.append(member.name)
            continue
        else:
            continue
        place = next(place for place, node in enumerate(member.nodes) if getattr(node, "axis", "") == stream.axis)
        weight = tensors[member.name].double()
        tensors[member.name] = weight * gain.reshape([-1 if one == place else 1 for one in range(weight.dim())])
    for name in norms:
        tensors[name] = torch.full_like(tensors[name], 1.0 - offset)


def _whole(pieces: "Pieces") -> "Pieces":
    """Put blocks of rows together."""
    rows: dict[str, list[Tensor]] = {}
    for name, block in pieces:
        rows.setdefault(name, []).append(block)
    for name, found in rows.items():
        yield name, found[0] if len(found) == 1 else torch.cat(found)
