"""Fisher merging: every weight is averaged with the certainty that each expert has about it.

    theta = sum_i c_i (F_i + floor) theta_i / sum_i c_i (F_i + floor),
    F_i = E_x E_{y ~ p_i(y|x)} (d log p_i(y|x) / d theta)^2
    normalize: c_i is divided by |F_i| + floor, so that an expert with large gradients does not outvote the others

Source: Matena and Raffel, arXiv 2111.09832. Differs: apart from the sum over all classes (``labels="exact"``) labels
may be drawn from the model (``"sampled"``): unbiased, and the only way where the classes are a vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.errors import NonFinite
from mergebarrier.lazy import torch
from mergebarrier.merge import declarations
from mergebarrier.merge.arithmetic import require_finite
from mergebarrier.merge.learned.method import DataMerge, Learned, TaskData, Tensors, cast, mean, run
from mergebarrier.merge.method import per_expert
from mergebarrier.numerics import aes
from mergebarrier.parameters import choice, flag, number
from mergebarrier.progress import Progress

_FLOAT32 = 4  # bytes
_BLOCK = 1 << 20  # elements
LABELS = ("sampled", "exact")


def diagonal(
    module: torch.nn.Module, tensors: Tensors, task: TaskData, *, labels: str, seed: int, tick: Callable[[], None]
) -> dict[str, torch.Tensor]:
    """Estimate the diagonal of the Fisher information of a model on a task.

    Args:
      module:  the architecture.
      tensors: weights to run with, in the module's dtypes.
      task:    one batch is one example: its rows' gradients are added before they are squared. For drawn labels that is
        unbiased for any batch; for "exact" every row is taken by itself, which costs a pass per row and class.
      labels:  "sampled" or "exact".
      seed:    of the draws, keyed by task and batch.
      tick:    called after each batch.
    Returns: name -> Float32[Tensor] of the differentiable parameters, the mean over batches, on the processor.
    Raises:  NonFinite naming the task.
    """
    leaves = {name: tensor for name, tensor in tensors.items() if name in dict(module.named_parameters())}
    sums = {name: torch.zeros_like(leaf, dtype=torch.float32) for name, leaf in leaves.items()}
    weight = 1.0

    def square(name: str) -> Callable[[torch.Tensor], None]:
        def hook(leaf: torch.Tensor) -> None:
            gradient, leaf.grad = leaf.grad, None
            if gradient is not None:
                wide = gradient.float()
                sums[name].addcmul_(wide, wide, value=weight)

        return hook

    placed = dict(tensors)
    for name, leaf in leaves.items():
        placed[name] = leaf.detach().requires_grad_()
        placed[name].register_post_accumulate_grad_hook(square(name))
    for place in range(len(task.batches)):
        logits = run(module, placed, task, task.batches[place])
        log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        if not torch.isfinite(log_p).all():
            raise NonFinite("the outputs are not finite", where=task.name, remedy="check the model and its data")
        if labels == "sampled":
            drawn = _draw(log_p.detach(), aes.stream_key(seed, "fisher", place, task.name))
            torch.autograd.backward(log_p.gather(1, drawn[:, None]).sum())
        else:
            for row in log_p:
                for value in row:
                    weight = float(value.detach().exp())
                    torch.autograd.backward(value, retain_graph=True)
        tick()
    return {name: (total / len(task.batches)).cpu() for name, total in sums.items()}


@dataclass(frozen=True, kw_only=True)
class Fisher(DataMerge):
    """Fisher-weighted mean.

    Memory: the module, one expert in its dtype, one Fisher diagonal and two sums in float32 of the model's size.

    Raises: BadMergeParameter.
    """

    name: ClassVar[str] = "fisher"

    weights: tuple[float, ...] = declarations.weights(low=0)
    labels: str = choice("sampled", choices=LABELS, help="Drawn from the model, or a sum over all classes.")
    floor: float = number(1e-6, help="Added to the information of every weight.", low=0, high=1)
    normalize: bool = flag(True, help="Divide each weight by the norm of the expert's information, plus the floor.")
    seed: int = declarations.seed()

    def held_bytes(self, elements: int, largest: int, itemsize: int, n_experts: int) -> int:
        """One expert, its Fisher diagonal, two sums, and the largest tensor while it is added."""
        return elements * (itemsize + 3 * _FLOAT32) + 4 * largest * _FLOAT32

    def learn(
        self,
        module: torch.nn.Module,
        base: Tensors | None,
        experts: Sequence[Tensors],
        data: Sequence[TaskData],
        progress: Progress,
    ) -> Learned:
        """Estimate one expert after the other, adding as it goes."""
        coefficients = per_expert(self.name, "weights", self.weights, len(experts), 1.0)
        total, done, norms = sum(len(task.batches) for task in data), 0, []
        centre = {name: mean(experts, name) for name in experts[0]}
        moved: dict[str, torch.Tensor] = {}
        weight: dict[str, torch.Tensor] = {}

        def tick() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        for expert, task, coefficient in zip(experts, data, coefficients, strict=True):
            found = diagonal(module, cast(module, expert), task, labels=self.labels, seed=self.seed, tick=tick)
            norms.append(math.sqrt(sum(map(_square, found.values()))))
            size = norms[-1] + self.floor
            scale = coefficient / size if self.normalize and size else coefficient
            for name in list(found):
                fisher = found.pop(name).add_(self.floor).mul_(scale)
                pull = fisher * (expert[name].float() - centre[name].float())
                moved[name] = moved[name].add_(pull) if name in moved else pull
                weight[name] = weight[name].add_(fisher) if name in weight else fisher
        for name in moved:
            step = moved[name] / torch.where(weight[name] > 0, weight[name], 1.0)
            merged = (centre[name].float() + step).to(centre[name].dtype)
            centre[name] = require_finite(merged, name, "merged tensor")
        return Learned(centre, diagnostics={"fisher_norms": norms})


def _square(fisher: torch.Tensor) -> float:
    """Sum of squares in float64, without a float64 copy of the whole."""
    return sum(float(part.double().square().sum()) for part in fisher.flatten().split(_BLOCK))


def _draw(log_p: torch.Tensor, key: bytes) -> torch.Tensor:
    """Draw one class per row: the first whose cumulative probability exceeds a keyed uniform number."""
    uniform = (torch.from_numpy(aes.draws(key, 0, len(log_p)).copy()).double() + (aes.LEVELS // 2 + 0.5)) / aes.LEVELS
    below = log_p.double().exp().cumsum(-1) < uniform[:, None].to(log_p.device)
    return below.sum(-1).clamp(max=log_p.shape[-1] - 1)
