"""Between tensors as stored and tensors in the layout of the mathematics.

The tables name the axes of every tensor as it is stored, so nothing is sliced or transposed on the way in; on the way
out a tensor is rounded once, from whatever width the arithmetic had, and made contiguous.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mergebarrier.arch.circuits import Circuit

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class _Circuits:
    """How a run shows circuits to mathematics."""

    @staticmethod
    def gather(circuit: Circuit, physical: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
        """Return the tensors of a circuit by their names on disk; a table of their own, to be emptied."""
        del circuit
        return dict(physical)

    @staticmethod
    def scatter(circuit: Circuit, changed: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
        """Return the tensors ready to be written."""
        del circuit
        return {name: tensor.contiguous() for name, tensor in changed.items()}

    @staticmethod
    def rounded(tensor: "Tensor", dtype: "torch.dtype | None") -> "Tensor":
        """Return a tensor in the dtype that it came in."""
        return tensor if dtype is None else tensor.to(dtype)


CIRCUITS: Final = _Circuits()
