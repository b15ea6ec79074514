"""AdaMerging: learn the coefficients of task arithmetic by making the merged model sure of itself on unlabelled data.

    theta_l = theta_0,l + sum_i lambda_i^l (theta_i,l - theta_0,l);   minimise sum_t E_x H(softmax(outputs_t(x)))
    scope "model": one lambda per expert (task-wise);   scope "tensor": one per expert and tensor (layer-wise)

Source: Yang et al., arXiv 2310.02575; Adam 1e-3, start 0.3, 16 a batch as in fusion_bench and the BadMerging code.
Differs: gradients of the merged tensors are reduced to those of the coefficients one tensor at a time; buffers, which
have no gradient, follow the start value ("tensor") or the expert's coefficient ("model").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.learned.entropy import descend
from mergebarrier.merge.learned.method import DataMerge, Learned, TaskData, Tensors
from mergebarrier.merge.methods import TaskArithmetic
from mergebarrier.parameters import choice, flag, number, whole
from mergebarrier.progress import Progress

_FLOAT32 = 4  # bytes
SCOPES = ("tensor", "model")


@dataclass(frozen=True, kw_only=True)
class AdaMerging(DataMerge):
    """Entropy minimisation over coefficients.

    Memory: the module, one merged copy in its dtype, the activations of one batch, a few of the largest tensor.

    Raises: BadMergeParameter.
    """

    name: ClassVar[str] = "adamerging"
    uses_base: ClassVar[bool] = True

    scope: str = choice(
        "tensor", choices=SCOPES, help="One coefficient per tensor (layer-wise) or per model (task-wise)."
    )
    start: float = number(0.3, help="First value of every coefficient.")
    steps: int = whole(500, help="Steps of Adam; 0 gives task arithmetic with the first value.")
    learning_rate: float = number(1e-3, help="About the most that a coefficient moves per step.", low=0, high=1)
    clamp: bool = flag(True, help="Keep coefficients in 0 to 1.")

    def held_bytes(self, elements: int, largest: int, itemsize: int, n_experts: int) -> int:
        """One merged copy, and the graph of the largest tensor."""
        return elements * itemsize + largest * _FLOAT32 * (n_experts + 4)

    def learn(
        self,
        module: torch.nn.Module,
        base: Tensors | None,
        experts: Sequence[Tensors],
        data: Sequence[TaskData],
        progress: Progress,
    ) -> Learned:
        """Learn the coefficients, then add the task vectors once with them."""
        assert base is not None
        column = Coefficients(base, experts, scope=self.scope, start=self.start)
        optimizer = torch.optim.Adam([column.table], lr=self.learning_rate)
        losses = []
        for step in range(self.steps):
            optimizer.zero_grad()
            losses.append(descend(module, tuple(base), column.build, data, step))
            optimizer.step()
            if self.clamp:
                column.table.data.clamp_(0, 1)
            progress(step + 1, self.steps)
        learned = {name: column.of(name) for name in base}
        tensors = {
            name: TaskArithmetic(weights=learned[name]).merge(
                base[name], [expert[name] for expert in experts], name=name
            )
            for name in base
        }
        ends = {"first_entropy_nats": losses[0], "last_entropy_nats": losses[-1]} if losses else {}
        return Learned(tensors, learned, ends)


class Coefficients:
    """A table of coefficients that is learned, and the merged tensors that it gives.

    Args:
      base, experts: name -> tensor.
      scope:         "tensor" or "model".
      start:         first value.
    """

    def __init__(self, base: Tensors, experts: Sequence[Tensors], *, scope: str, start: float) -> None:
        """Fill the table: Float64[Tensor, "rows experts"], one row per tensor or one for all."""
        self._base, self._experts = base, experts
        self._row = {name: number if scope == "tensor" else 0 for number, name in enumerate(base)}
        rows = len(self._row) if scope == "tensor" else 1
        self.table = torch.full((rows, len(experts)), start, dtype=torch.float64, requires_grad=True)

    def of(self, name: str) -> tuple[float, ...]:
        """Return the coefficients of a tensor, one per expert."""
        return tuple(self.table[self._row[name]].tolist())

    def build(self, name: str) -> torch.Tensor:
        """Return theta_0 + sum_i lambda_i tau_i; an integer tensor is the base's."""
        base = self._base[name]
        if not base.is_floating_point():
            return base
        merged = base.to(torch.promote_types(base.dtype, torch.float32))
        for coefficient, expert in zip(self.table[self._row[name]], self._experts, strict=True):
            merged = merged + coefficient.to(merged.dtype) * (expert[name].to(merged.dtype) - base)
        return merged
