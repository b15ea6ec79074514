"""What no element of an axis changes: evidence that two models are one, whatever coordinates they are written in.

    order, glu     sorted norms of the entries (of the products of both sides, where a scale may act)
    basis          products of both sides, O_h V_g or W_q^T W_k
    planes         conj(c_q) c_k per plane, c = w_a + j w_b
    signed stream  Gram matrices over the entries

A map that touches both sides of a product leaves it alone; one that reorders leaves sorted numbers alone.
"""

import torch
from torch import Tensor

from mergebarrier.circuits import Circuit, Instance
from mergebarrier.symmetry.blocks import ActedRows, Tensors, carriers
from mergebarrier.symmetry.elements import Planes

#: Columns, or rows, of either side that are looked at.
_MOST = 64


def invariants(circuit: Circuit, one: Instance, tensors: Tensors) -> dict[str, Tensor]:
    """Return quantities that no element of an axis changes, float64; nothing where no matrix carries it alone."""
    axis = circuit.axis(one)
    rows = [row for row in carriers(circuit, one, tensors, tensors, lambda other: True) if not row.vector]
    direct, dual = ([row for row in rows if row.factor.dual is side] for side in (False, True))
    if axis.kind == "planes" and direct and dual and circuit.rotary[one[0]] == circuit.sizes[one[0]]:
        return {"planes": _planes(circuit, one, direct[0], dual[0])}
    if axis.kind == "basis" and direct and dual:
        return {"products": dual[0].now.double()[..., :_MOST].mT @ direct[0].now.double()[..., :_MOST]}
    if axis.kind == "glu" and direct and dual:
        scaled, plain = ([row for row in direct if row.factor.scaled is side] for side in (True, False))
        products = scaled[0].now.double().norm(dim=2) * dual[0].now.double().norm(dim=2)
        return {"products": products.sort().values} | {
            f"norms {number}": row.now.double().norm(dim=2).sort().values for number, row in enumerate(plain)
        }
    if axis.kind in ("signed", "centred"):
        grams = {f"gram {number}": row.now[0].double()[:, :_MOST] for number, row in enumerate(rows)}
        return {name: side.mT @ side for name, side in grams.items()}
    return {f"norms {number}": row.now.double().norm(dim=2).sort().values for number, row in enumerate(rows)}


def _planes(circuit: Circuit, one: Instance, direct: ActedRows, dual: ActedRows) -> Tensor:
    planes = circuit.rotary[one[0]] // 2
    first, second = Planes(torch.ones(1, planes, dtype=torch.complex128), None, circuit.axis(one).pairs).entries()
    sides = [
        torch.complex(row.now[:, first].double(), row.now[:, second].double())[..., :_MOST] for row in (direct, dual)
    ]
    product = torch.einsum("bpm,bpn->bpmn", sides[0].conj(), sides[1])
    return torch.stack([product.real, product.imag])
