"""Concrete merging: learn which entries all task vectors may use, as one mask that the merged model is surest with.

    theta = theta_0 + sum_i lambda_i (m / mean m) * (theta_i - theta_0),   m = sigmoid((log u/(1-u) + x) / T), u uniform
    minimise sum_t E H(softmax(outputs_t)) over x (one per weight, 0 at the start) by Adam; at last u = 1/2, T = 1

The mask is drawn again in each step (a relaxed Bernoulli variable); m is divided by its mean, tensor by tensor, so that
a sparser mask keeps the size of the task vector. Host "task_arithmetic": lambda stays. Host "adamerging": lambda is
learned in the same steps and then alone, under the finished mask.

Source: Tang et al., arXiv 2312.06173, settings of fusion_bench. Differs: the final mask is the expectation sigmoid(x),
not one more draw, and coefficients and mask take their steps from one pass instead of two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeAlias

from mergebarrier.lazy import np, torch
from mergebarrier.merge import declarations
from mergebarrier.merge.arithmetic import require_finite
from mergebarrier.merge.learned.entropy import descend
from mergebarrier.merge.learned.method import DataMerge, Learned, TaskData, Tensors
from mergebarrier.numerics import aes
from mergebarrier.parameters import choice, flag, number, whole
from mergebarrier.progress import Progress

_FLOAT32 = 4  # bytes
HOSTS = ("task_arithmetic", "adamerging")


@dataclass(frozen=True, kw_only=True)
class Concrete(DataMerge):
    """Task arithmetic or AdaMerging inside a learned subspace.

    Memory: the module, one merged copy, and of the mask four copies in float32 of the model's size.

    Raises: BadMergeParameter.
    """

    name: ClassVar[str] = "concrete"
    uses_base: ClassVar[bool] = True

    host: str = choice("task_arithmetic", choices=HOSTS, help="What is masked.")
    start: float = number(0.3, help="Coefficient, or its first value.")
    steps: int = whole(1000, help="Steps of Adam on the mask.")
    learning_rate: float = number(1e-3, help="Of the mask and of coefficients.", low=0, high=1)
    temperature: float = number(0.5, help="Of the drawn masks.", low=0, high=100, above=True)
    host_steps: int = whole(
        1000, help="Steps of Adam on coefficients, under the finished mask.", only="with host adamerging"
    )
    clamp: bool = flag(True, help="Keep coefficients in 0 to 1.", only="with host adamerging")
    seed: int = declarations.seed()

    def held_bytes(self, elements: int, largest: int, itemsize: int, n_experts: int) -> int:
        """One merged copy; mask, its gradient and two moments; the graph of the largest tensor."""
        return elements * (itemsize + 4 * _FLOAT32) + largest * _FLOAT32 * (n_experts + 8)

    def learn(
        self,
        module: torch.nn.Module,
        base: Tensors | None,
        experts: Sequence[Tensors],
        data: Sequence[TaskData],
        progress: Progress,
    ) -> Learned:
        """Learn the mask, then with host "adamerging" the coefficients, and add once."""
        assert base is not None
        learns = self.host == "adamerging"
        state = _Masked(base, experts, dict(module.named_parameters()), self.start)
        total, losses = self.steps + (self.host_steps if learns else 0), []
        optimizer = torch.optim.Adam(
            [*state.logits.values(), *([state.table] if learns else [])], lr=self.learning_rate, foreach=False
        )
        finish = torch.optim.Adam([state.table], lr=self.learning_rate)
        for step in range(total):
            masking = step < self.steps
            mask = self._drawn(step) if masking else _expected
            names, chosen = tuple(base), optimizer if masking else finish
            chosen.zero_grad()
            losses.append(descend(module, names, partial(state.build, mask=mask), data, step))
            chosen.step()
            if self.clamp and learns:
                state.table.data.clamp_(0, 1)
            progress(step + 1, total)
        with torch.no_grad():
            tensors = {name: state.build(name, _expected).to(base[name].dtype) for name in base}
        for name, tensor in tensors.items():
            require_finite(tensor, name, "merged tensor")
        kept = {name: float(torch.sigmoid(logits.detach()).mean()) for name, logits in state.logits.items()}
        ends = {"first_entropy_nats": losses[0], "last_entropy_nats": losses[-1]} if losses else {}
        return Learned(tensors, {name: state.of(name) for name in base}, ends | {"mean_mask": kept})

    def _drawn(self, step: int) -> _Mask:
        def mask(name: str, logits: torch.Tensor) -> torch.Tensor:
            words = aes.draws(aes.stream_key(self.seed, self.name, step, name), 0, logits.numel()).astype(np.float32)
            uniform = torch.from_numpy((words + (aes.LEVELS / 2 + 0.5)) / aes.LEVELS).view(logits.shape)
            return torch.sigmoid((torch.logit(uniform) + logits) / self.temperature)

        return mask


_Mask: TypeAlias = "Callable[[str, torch.Tensor], torch.Tensor]"


def _expected(name: str, logits: torch.Tensor) -> torch.Tensor:
    del name
    return torch.sigmoid(logits)


class _Masked:
    """Mask logits per differentiable tensor, coefficients per tensor and expert, and the tensors they give."""

    def __init__(self, base: Tensors, experts: Sequence[Tensors], parameters: Tensors, start: float) -> None:
        self._base, self._experts = base, experts
        self._row = {name: number for number, name in enumerate(base)}
        self.table = torch.full((len(self._row), len(experts)), start, dtype=torch.float64, requires_grad=True)
        self.logits = {
            name: torch.zeros(tensor.shape, dtype=torch.float32, requires_grad=True)
            for name, tensor in base.items()
            if name in parameters and tensor.is_floating_point()
        }

    def of(self, name: str) -> tuple[float, ...]:
        return tuple(self.table[self._row[name]].tolist())

    def build(self, name: str, mask: _Mask) -> torch.Tensor:
        base = self._base[name]
        if not base.is_floating_point():
            return base
        wide = base.to(torch.promote_types(base.dtype, torch.float32))
        moved = torch.zeros_like(wide)
        for coefficient, expert in zip(self.table[self._row[name]], self._experts, strict=True):
            moved = moved + coefficient.to(wide.dtype) * (expert[name].to(wide.dtype) - wide)
        if name in self.logits:
            drawn = mask(name, self.logits[name])
            moved = moved * (drawn / drawn.mean())
        return wide + moved
