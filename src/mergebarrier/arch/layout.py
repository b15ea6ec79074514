"""Between tensors as stored and tensors in the layout of the mathematics.

``gather`` slices fused tensors and transposes where the table says so; ``scatter`` is its exact inverse.  No number is
changed and no dtype converted: a view in, a contiguous tensor out.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mergebarrier.arch.describe import Circuit

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def gather(circuit: Circuit, physical: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Expose the logical tensors of a circuit.

    Args:
      circuit:  from ``describe``.
      physical: name on disk -> tensor; row blocks are allowed where ``circuit.rowwise``.
    Returns: logical name ("q.weight", ...) -> view, weights as (out, in), dtype unchanged.
    """
    logical: dict[str, Tensor] = {}
    for name, rule in zip(circuit.tensors, circuit.rules, strict=True):
        tensor = physical[name].T if rule.transposed else physical[name]
        if len(rule.holds) == 1:
            logical[rule.holds[0]] = tensor
        else:
            sizes = [circuit.logical_shape(part)[0] for part in rule.holds]
            logical.update(zip(rule.holds, tensor.split(sizes), strict=True))
    return logical


def scatter(circuit: Circuit, logical: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return the physical tensors (contiguous, storage layout) of logical ones: the inverse of ``gather``."""
    import torch

    physical: dict[str, Tensor] = {}
    for name, rule in zip(circuit.tensors, circuit.rules, strict=True):
        parts = [logical[part] for part in rule.holds]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        physical[name] = (tensor.T if rule.transposed else tensor).contiguous()
    return physical


class _Circuits:
    """How a run shows circuits to mathematics: gathered, rounded once to the stored dtypes, and scattered again."""

    gather = staticmethod(gather)
    scatter = staticmethod(scatter)

    def rounded(self, tensor: "Tensor", dtype: "torch.dtype | None") -> "Tensor":
        """Return a logical tensor in the dtype that it came in, from whatever width the arithmetic had."""
        return tensor if dtype is None else tensor.to(dtype)


CIRCUITS: Final = _Circuits()
