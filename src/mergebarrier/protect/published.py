"""What a published lock asks of a model, and what it would do to one that it was not written for.

PaRaMS, MergeLock and MergeBarrier give every head a map A that knows nothing of positions: q' = A q, k' = A^-T k (the
third a reflection, which is its own A^-T).  Without rotary positions the logits stay; with them R_m^T A^T A^-T R_n is
not R_m^T R_n unless A commutes with every rotation.

    error = |l' - l| / |l|,   l = q^T R_t k,   l' = (A q)^T R_t (A^-T k),   t = 1 .. 64,   q, k of the model's weights

Source: arXiv 2503.07661, 2509.01548 (both were tried on models without RoPE), 2511.10712.  A preset that a 16-bit file
would not survive is refused too: rounding is amplified by the condition number.
"""

from typing import TYPE_CHECKING

from mergebarrier import symmetry
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch
from mergebarrier.numerics import draws

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from mergebarrier.circuits import Circuit, Instance
    from mergebarrier.protect.protection import Context

    #: Rows of queries and of keys of a circuit, Float64[Tensor, "groups n m"] each -> the published map.
    Published = Callable[[Sequence[Tensor]], symmetry.Monomial | symmetry.LinearMap]

# Largest condition number of a map whose result is stored in 16 bits.
_SAFE_CONDITION = 16.0
_DISTANCES, _BASE = 64, 10_000.0


def heads(circuit: "Circuit", space: str) -> "list[Instance]":
    """Return the elements of a circuit that act on entries of heads."""
    return [one for one in circuit.instances if circuit.axis(one).space == space]


def check_dtypes(context: "Context", method: str, condition: float) -> None:
    """Raise MethodRefused for float16, and for 16 bits where ``condition`` is large."""
    for name, info in context.checkpoint.tensors.items():
        if info.dtype == "F16":
            raise MethodRefused(f"{method} scales weights, and the range of float16 is narrow", where=name,
                                remedy="convert the model to bfloat16 or float32")  # fmt: skip
        if info.dtype == "BF16" and condition > _SAFE_CONDITION:
            raise MethodRefused(
                f"maps of condition {condition:g} would lose what bfloat16 holds",
                where=name,
                remedy="use --preset small, or convert the model to float32",
            )


def check_heads(context: "Context", method: str) -> None:
    """Raise MethodRefused for a model without heads whose entries a map may mix."""
    if not context.architecture.spaces & symmetry.HEADS:
        raise MethodRefused(
            f"{method} acts on heads, and a model of the {context.architecture.family} family has none that it may",
            where=context.checkpoint.path,
            remedy="use --method exact",
        )


def refuse_literal(context: "Context", published: "Published") -> None:
    """Raise MethodRefused, with the error of the attention logits, where the published map meets rotary positions."""
    for circuit in context.architecture.circuits:
        for one in heads(circuit, "query_key"):
            if circuit.axis(one).kind == "planes":
                error = _literal_error(circuit, one, context, published)
                raise MethodRefused(
                    f"the published form does not commute with rotary positions: the attention logits of "
                    f"{circuit.name} would be off by {error:.2g} of their size, and the model would no longer work",
                    where="--form literal",
                    remedy="use --form auto, the same map among those that do commute",
                )


def drawn(profile: str, condition: float) -> "Published":
    """Return a published map that is drawn, from bytes that anyone may know."""
    return lambda sides: symmetry.basis(_Public(), sides[0].shape[1], 1, profile, condition)


def _literal_error(circuit: "Circuit", one: "Instance", context: "Context", published: "Published") -> float:
    """Return the relative error of attention logits under a map that ignores the rotations of its entries."""
    tensors = {name: context.checkpoint.read(name) for name in circuit.tensors}
    rows = symmetry.carriers(circuit, one, tensors, tensors, lambda other: True)
    sides = [next(row.now.double() for row in rows if not row.vector and row.factor.dual == dual)
             for dual in (False, True)]  # fmt: skip
    query, key = (
        side @ draws.uniform(("literal", place), side.shape[-1], _DISTANCES, low=-1.0)
        for place, side in enumerate(sides)
    )
    blind = published(sides)
    planes, pairs = circuit.rotary[one[0]] // 2, circuit.axis(one).pairs
    kept = _logits(query, key, planes, pairs)
    moved = _logits(blind.matrix() @ query, blind.contragredient.matrix() @ key, planes, pairs)
    return float((moved - kept).norm() / kept.norm())


class _Public:
    """Bytes that anyone may know: what is drawn from them is looked at, and forgotten."""

    def __init__(self) -> None:
        self._taken = 0

    def take(self, n_bytes: int) -> bytes:
        self._taken += 1
        return draws.words(("literal map", self._taken), -(-n_bytes // 8)).tobytes()[:n_bytes]


def _logits(query: "Tensor", key: "Tensor", planes: int, pairs: bool) -> "Tensor":
    """Return one logit per head group and column, the t-th at distance t."""
    angle = torch.arange(1, query.shape[-1] + 1) * _BASE ** (-torch.arange(planes).double() / planes)[:, None]
    first, second = symmetry.Planes(torch.ones(1, planes, dtype=torch.complex128), None, pairs).entries()
    turned = key.clone()
    turned[:, first] = angle.cos() * key[:, first] - angle.sin() * key[:, second]
    turned[:, second] = angle.sin() * key[:, first] + angle.cos() * key[:, second]
    return (query * turned).sum(1)
