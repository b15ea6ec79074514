"""The anchor-guided attack as published: every projection of every head solved alone by least squares.

It returns the anchor projected on the row space of the protected head, so the part of the task vector inside that space
is deleted, and q and k (v and o) no longer match exactly: the function changes.  It is here because it is the published
baseline; ``gaugefix`` is the attack to fear.

    T = argmin |W'_h^T T - W0_h^T|^2,  W_h <- T^T W'_h, b_h <- T^T b_h;   o: T = argmin |O'_h T - O0_h|^2;
    MLP: Hungarian assignment on the cosine of the first matrix's rows, then reorder

Source: arXiv 2606.30360 (ridge 1e-8, float64, per head).  It was written for models without RoPE, grouped heads,
latents, experts or a moved stream; ``matched=True`` first undoes all that it does not solve, as ``gaugefix`` finds it.
Which entries are those of heads is asked of the table; a model without any is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import symmetry
from mergebarrier.checkpoint import OutputFolder
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch
from mergebarrier.parameters import check_values, flag
from mergebarrier.realign.gaugefix import GaugeFix
from mergebarrier.realign.realignment import check_stock

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.arch import Factor
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit, Instance
    from mergebarrier.realign.realignment import ParallelMap
    from mergebarrier.symmetry import Elements, Tensors

_RIDGE = 1e-8


@dataclass(frozen=True)
class FittedAnchor:
    """Closed forms are solved when a circuit is applied; only the matching is kept."""

    matching: Mapping[str, Elements]
    diagnostics: dict[str, object]
    output: OutputFolder = field(default_factory=OutputFolder)

    def apply(self, circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
        """Undo the matching (if any), then solve every projection of the circuit against the anchor."""
        moved = symmetry.act_inverse(circuit, self.matching.get(circuit.name, {}), tensors)
        if not self.matching:
            moved = symmetry.act_inverse(circuit, _neurons(circuit, moved, anchor), moved)
        return _solved(circuit, moved, anchor)


@dataclass(frozen=True, kw_only=True)
class Aga:
    """Hyper-parameters of ``aga``; with ``matched`` it has a name of its own.

    Raises: UsageError.
    """

    name: ClassVar[str] = "aga"
    preserves_function: ClassVar[bool] = False
    needs_base: ClassVar[bool] = True

    matched: bool = flag(
        False, help="First undo streams, heads and neurons, which the published attack does not know.", flag="-"
    )

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    @property
    def label(self) -> str:
        """Return the name for people."""
        return f"{self.name}-matched" if self.matched else self.name

    @property
    def about(self) -> str:
        """Say in a few words what sets it apart."""
        published = "the published attack, which changes what the model computes"
        return "the same after the matching of gaugefix" if self.matched else published

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> FittedAnchor:
        """Return the attack, with our matching when ``matched``.

        Raises: MethodRefused for a model without heads, or of polynomials.
        """
        check_stock(architecture, model)
        if not architecture.spaces.intersection(symmetry.HEADS):
            raise MethodRefused(
                f"a model of the {architecture.family} family has no heads whose projections could be solved",
                where=model.path,
                remedy="use --method gaugefix",
            )
        if not self.matched:
            return FittedAnchor({}, {"matched": False, "tokens": 0})
        found = GaugeFix().fit(architecture, model, anchor, parallel=parallel)
        matching = {
            circuit.name: {
                one: element
                for one, element in found.gauge[circuit.name].items()
                if circuit.axis(one).space not in symmetry.HEADS
            }
            for circuit in architecture.circuits
        }
        return FittedAnchor(matching, found.diagnostics | {"matched": True})


def least_squares(x: Tensor, y: Tensor) -> Tensor:
    """Return T = argmin |x T - y|^2 with ridge 1e-8 of the mean diagonal.

    Args:
      x: Float64[Tensor, "*batch rows n"].
      y: of the same shape.

    On a square full-rank x this returns T with x T = y: the answer is the anchor itself, and the task vector is gone.
    """
    gram = x.mT @ x
    n = gram.shape[-1]
    ridge = _RIDGE * gram.diagonal(dim1=-2, dim2=-1).sum(-1) / n
    solution: Tensor = torch.linalg.solve(gram + ridge[..., None, None] * torch.eye(n, dtype=gram.dtype), x.mT @ y)
    return solution


def _neurons(circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[Instance, symmetry.Element]:
    """Match neurons by the rows of the first matrix that carries them."""
    found: dict[Instance, symmetry.Element] = {}
    for one in circuit.instances:
        if circuit.axis(one).space == "neurons":
            rows = symmetry.carriers(circuit, one, tensors, anchor, lambda other: True)
            first = next(row for row in rows if not row.vector)
            pairs = zip(first.now, first.then, strict=True)
            perm = torch.stack([symmetry.assign(symmetry.cosines(now, then)) for now, then in pairs])
            found[one] = symmetry.Monomial(perm, torch.ones(perm.shape, dtype=torch.float64))
    return found


def _solved(circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
    """Solve every head of every projection alone; a bias follows its weight, which stands before it."""
    maps: dict[tuple[str, int], Tensor] = {}
    solved = dict(tensors)
    for member in circuit.members:
        if member.name in tensors:
            sides = [symmetry.unfold(side[member.name], member.nodes, circuit.sizes) for side in (tensors, anchor)]
            pieces = [
                _solve(circuit, (member.stem, number), factors, now, then, maps)
                for number, ((factors, now), (_, then)) in enumerate(zip(*sides, strict=True))
            ]
            if any(piece is not now for piece, (_, now) in zip(pieces, sides[0], strict=True)):
                solved[member.name] = symmetry.fold(iter(pieces).__next__, member.nodes)
    return solved


def _solve(
    circuit: Circuit,
    key: tuple[str, int],
    factors: tuple[Factor, ...],
    now: Tensor,
    then: Tensor,
    maps: dict[tuple[str, int], Tensor],
) -> Tensor:
    """Return a block with the entries of every head mapped by least squares; one without heads as it is."""
    space = ["" if not factor.axis else circuit.family.axes[factor.axis].space for factor in factors]
    solvable = [place for place, name in enumerate(space) if name in symmetry.HEADS]
    if len(solvable) != 1:
        return now
    first = [*(place for place, name in enumerate(space) if name == "heads"), *solvable]
    order = [*first, *(place for place in range(now.dim()) if place not in first)]
    moved, target = (side.permute(order).double() for side in (now, then))
    width = moved.shape[len(first) - 1]
    flat, wanted = (side.reshape(-1, width, moved[(0,) * len(first)].numel()) for side in (moved, target))
    if key not in maps:
        maps[key] = least_squares(flat.mT, wanted.mT)
    mapped = (flat.mT @ maps[key]).mT.reshape(moved.shape)
    return mapped.permute([order.index(place) for place in range(now.dim())])
