"""A feed-forward network with its polynomials: the tensors of the module that stands for it.

    unfolded   W_in = W_gate / half,  b_in = (b_gate - mid) / half,  W_n = W_down diag(a_n),   n = 0 .. N
    compact    the stock matrices, and mid, half and all a_n beside them

Neurons that are polynomials come first, those that stay exact behind them.  Source: arXiv 2511.10712, as ``unfolding``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier.checkpoint.bytes import TORCH
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.modeling_mergebarrier import Form
    from mergebarrier.protect.calibration import Network


@dataclass(frozen=True, kw_only=True)
class FittedNetwork:
    """Polynomials of one network.

    Attributes:
      network:      where it is.
      mid, half:    Float64[Tensor, "n"] of the neurons that are polynomials.
      coefficients: Float64[Tensor, "n order+1"].
      order:        Int64[Tensor, "neurons"]: those neurons, then the others.
      worst:        largest error of any of them.
      dtype:        of what is published, as a file names it.
    """

    network: "Network"
    mid: "Tensor"
    half: "Tensor"
    coefficients: "Tensor"
    order: "Tensor"
    worst: float
    dtype: str

    def published(self, form: "Form", parts: "Mapping[str, Tensor]") -> "Iterator[tuple[str, Tensor]]":
        """Yield the tensors of the module that stands for the network, from the parts in its circuit; rounded once."""
        yield from ((name, tensor.to(TORCH[self.dtype]).contiguous()) for name, tensor in self._tensors(form, parts))

    def _tensors(self, form: "Form", parts: "Mapping[str, Tensor]") -> "Iterator[tuple[str, Tensor]]":
        n = len(self.mid)
        wide = {
            name: part.double() if name == "down_bias" else part.double()[self.order] for name, part in parts.items()
        }
        gate, down = wide["gate"], wide["down"]
        shift = wide.get("gate_bias", torch.zeros(len(gate), dtype=torch.float64))
        if form == "compact":
            found = {f"poly_{name}.weight": wide[name].mT if name == "down" else wide[name]
                     for name in ("gate", "up", "down") if name in wide}  # fmt: skip
            found |= {
                f"poly_{name}.bias": wide[f"{name}_bias"] for name in ("gate", "up", "down") if f"{name}_bias" in wide
            }
            found |= {"poly_coef": self.coefficients, "poly_mid": self.mid, "poly_half": self.half}
            yield from found.items()
            return
        yield "poly_in.weight", (gate[:n] / self.half[:, None])
        yield "poly_in.bias", ((shift[:n] - self.mid) / self.half)
        for order, a in enumerate(self.coefficients.unbind(1)):
            yield f"poly_out.{order}.weight", (down[:n] * a[:, None]).mT
        if "down_bias" in wide:
            yield "poly_out.0.bias", wide["down_bias"]
        if n < len(gate):
            yield "exact_down_proj.weight", down[n:].mT
        for name, target in (("gate", "exact_gate_proj"), ("up", "exact_up_proj")):
            for kind, part in (("weight", name), ("bias", f"{name}_bias")):
                if part in wide and n < len(gate):
                    yield f"{target}.{kind}", wide[part][n:]
                if part in wide and name == "up":
                    yield f"poly_up.{kind}", wide[part][:n]
