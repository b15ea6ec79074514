"""The anchor-guided attack as published: every projection of every head solved alone by least squares.

It returns the anchor projected on the row space of the protected head, so the part of the task vector inside that space
is deleted, and q and k (v and o) no longer match exactly: the function changes.  It is here because it is the published
baseline; ``gaugefix`` is the attack to fear.

    T = argmin |W'_h^T T - W0_h^T|^2,  W_h <- T^T W'_h, b_h <- T^T b_h;   o: T = argmin |O'_h T - O0_h|^2;
    MLP: Hungarian assignment on the cosine of the first matrix's rows, then reorder

Source: arXiv 2606.30360 (ridge 1e-8, float64, per head).  It was written for models without RoPE, grouped heads or a
moved residual stream; ``matched=True`` first undoes stream, head order and neurons as ``gaugefix`` finds them.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mergebarrier import symmetry
from mergebarrier.arch import Architecture, Circuit
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.realign.gaugefix import GaugeFix
from mergebarrier.realign.realignment import ParallelMap, Tensors
from mergebarrier.symmetry import NeuronMap, assign, cosines

_RIDGE = 1e-8
_MATCHED_SPACES = ("heads", "neurons", symmetry.RESIDUAL)


@dataclass(frozen=True)
class FittedAnchor:
    """Closed forms are solved when a circuit is applied; only the matching is kept."""

    matching: symmetry.Gauge
    diagnostics: dict[str, Any]

    def apply(self, circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
        """Undo the matching (if any), then solve every projection of the circuit against the anchor."""
        moved = symmetry.act_inverse(circuit, self.matching.elements.get(circuit.name, {}), tensors)
        if circuit.kind == "attn":
            dims = circuit.dims
            for role, heads in (("q", dims.n_heads), ("k", dims.n_kv_heads), ("v", dims.n_kv_heads)):
                moved |= _solve_rows(moved, anchor, role, heads)
            moved["o.weight"] = _solve_columns(moved["o.weight"], anchor["o.weight"], dims.n_heads)
        elif circuit.kind == "mlp" and not self.matching.elements:
            first = "gate.weight" if circuit.dims.gated else "fc1.weight"
            perm = assign(cosines(moved[first], anchor[first]))
            neurons = symmetry.spaces(circuit)["neurons"]
            order = NeuronMap(perm, torch.ones(len(perm), dtype=torch.float64))
            moved = neurons.act(neurons.inverse(order), moved)
        return moved


@dataclass(frozen=True)
class Aga:
    """Hyper-parameters of ``aga``.

    Args:
      matched: first undo stream, heads and neurons, which the published attack does not know.
    """

    name: ClassVar[str] = "aga"
    preserves_function: ClassVar[bool] = False

    matched: bool = False

    @property
    def label(self) -> str:
        """Return the name for people."""
        return f"{self.name}-matched" if self.matched else self.name

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> FittedAnchor:
        """Return the attack, with our matching when ``matched``."""
        if not self.matched:
            return FittedAnchor(symmetry.Gauge({}), {"matched": False, "tokens": 0})
        found = GaugeFix().fit(architecture, model, anchor, parallel=parallel)
        matching = {
            circuit: {space: element for space, element in elements.items() if space in _MATCHED_SPACES}
            for circuit, elements in found.gauge.elements.items()
        }
        return FittedAnchor(symmetry.Gauge(matching), found.diagnostics | {"matched": True})


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


def _solve_rows(tensors: Tensors, anchor: Tensors, role: str, heads: int) -> dict[str, Tensor]:
    weight, target = (side[f"{role}.weight"].double() for side in (tensors, anchor))
    width = weight.shape[0] // heads
    x, y = (side.reshape(heads, width, -1).mT for side in (weight, target))
    solution = least_squares(x, y)
    solved = {f"{role}.weight": (x @ solution).mT.reshape(weight.shape)}
    if f"{role}.bias" in tensors:
        bias = tensors[f"{role}.bias"].double().reshape(heads, 1, width)
        solved[f"{role}.bias"] = (bias @ solution).reshape(-1)
    return solved


def _solve_columns(weight: Tensor, target: Tensor, heads: int) -> Tensor:
    x, y = (side.double().reshape(len(side), heads, -1).transpose(0, 1) for side in (weight, target))
    return (x @ least_squares(x, y)).transpose(0, 1).reshape(weight.shape)
