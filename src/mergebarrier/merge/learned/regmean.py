"""RegMean: the linear map whose outputs differ least from those of each expert on that expert's own inputs.

    minimise sum_i |(W - W_i) X_i^T|^2   =>   W = (sum_i W_i G_i) (sum_i G_i)^-1,   G_i = X_i^T X_i / rows
    G_i: off-diagonal entries times ``off_diagonal``; the diagonal of the sum times 1 + ridge; all else: the plain mean

RegMean++ takes G_i from inputs that went through the merged preceding layers, block by block from the bottom: what a
layer will be given in the merged model, instead of what it was given in the expert.

Source: Jin et al., arXiv 2212.09849; Nguyen et al., arXiv 2508.03121. Differs: solved as a correction of the mean, in
float64, so that equal experts give themselves exactly; the ridge pulls towards the mean, not to zero, and is relative
to each input's own size, because a language model has inputs a million times larger than others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.errors import BadMergeData
from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import require_finite
from mergebarrier.merge.learned import grams
from mergebarrier.merge.learned.method import DataMerge, Learned, TaskData, Tensors, cast, mean
from mergebarrier.parameters import number, whole
from mergebarrier.progress import Progress

_NOISE = 2.0**-23  # of products of float32 activations, relative


def regress(
    weights: Sequence[torch.Tensor], grams: Sequence[torch.Tensor], *, off_diagonal: float, ridge: float
) -> torch.Tensor:
    """Solve the regression of one linear map.

    Args:
      weights:      Float[Tensor, "out in"] per expert.
      grams:        Float[Tensor, "in in"] per expert, symmetric, not negative.
      off_diagonal: factor on off-diagonal entries, 0 to 1.
      ridge:        added to every input's second moment, relative to it, at least 0.
    Returns: Float64[Tensor, "out in"]; the mean in the column of an input that is never active.
    Raises:  BadMergeData when the system is singular, which a ridge above 0 prevents.
    Numerics: float64; a correction of the mean, so its error is relative to the distance between the experts.

    Example:
      >>> weights, grams = [torch.zeros(1, 1), torch.ones(1, 1)], [torch.tensor([[1.0]]), torch.tensor([[3.0]])]
      >>> regress(weights, grams, off_diagonal=1.0, ridge=0.0)
      tensor([[0.7500]], dtype=torch.float64)
    """
    centre = torch.stack([weight.double() for weight in weights]).mean(0)
    total = torch.zeros_like(grams[0], dtype=torch.float64)
    pull = torch.zeros_like(centre)
    for weight, gram in zip(weights, grams, strict=True):
        scaled = gram.double() * off_diagonal
        scaled.diagonal().copy_(gram.diagonal())
        total += scaled
        pull += (weight.double() - centre) @ scaled
    moments = total.diagonal().clone()
    scale = torch.where(moments > 0, moments, 1.0).rsqrt()
    total.mul_(scale).mul_(scale[:, None]).diagonal().copy_(torch.full_like(moments, 1.0 + ridge))
    factor, fault = torch.linalg.cholesky_ex(total)
    if fault or factor.diagonal().min() ** 2 < _NOISE:
        raise BadMergeData(
            f"the Gram matrix of {len(total)} inputs is singular", remedy="give more data, or a ridge above 0"
        )
    return centre + torch.cholesky_solve((pull * scale).T, factor).T * scale


@dataclass(frozen=True, kw_only=True)
class RegMean(DataMerge):
    """Regression mean.

    Memory: besides the module one expert in the module's dtype, the result, and ``gram_bytes``.

    Raises: BadMergeParameter.

    Example:
      >>> module = torch.nn.Linear(1, 1, bias=False)
      >>> experts = [{"weight": torch.zeros(1, 1)}, {"weight": torch.ones(1, 1)}]
      >>> run = lambda module, rows: module(rows)
      >>> data = [TaskData("a", [torch.tensor([[1.0]])], run), TaskData("b", [torch.tensor([[2.0]])], run)]
      >>> RegMean(ridge=0.0).merge(module.eval(), None, experts, data).tensors["weight"]
      tensor([[0.8000]])
    """

    name: ClassVar[str] = "regmean"

    off_diagonal: float = number(
        0.9, help="Factor on what two inputs have in common; 0.95 suits vision encoders.", low=0, high=1
    )
    ridge: float = number(1e-6, help="Relative to the second moment of each input.", low=0, high=1)
    gram_bytes: int = whole(
        2**30, help="Budget of the Gram matrices held at once; --max-ram gives it.", low=1, flag="-"
    )

    def held_bytes(self, elements: int, largest: int, itemsize: int, n_experts: int) -> int:
        """One expert, and the Gram matrices."""
        return elements * itemsize + self.gram_bytes

    def learn(
        self,
        module: torch.nn.Module,
        base: Tensors | None,
        experts: Sequence[Tensors],
        data: Sequence[TaskData],
        progress: Progress,
    ) -> Learned:
        """Collect and solve, group of layers by group of layers."""
        order = grams.reached(module, cast(module, experts[0]), data[0])
        layers = [layer for layer in order if layer.weight in experts[0]]
        cut = grams.groups(layers, len(experts), self.gram_bytes)
        tensors = {name: mean(experts, name) for name in experts[0]}
        for turn, group in enumerate(cut):
            tables = []
            for i, (expert, task) in enumerate(zip(experts, data, strict=True)):
                tables.append(grams.collect(module, cast(module, expert), task, group))
                progress(turn * len(experts) + i + 1, len(cut) * len(experts))
            for layer in group:
                found = [table.pop(layer.path) for table in tables]
                tensors[layer.weight] = self.solve(layer, experts, found, tensors[layer.weight].dtype)
        return Learned(tensors, diagnostics=_seen(module, layers, len(cut)))

    def solve(
        self, layer: grams.Layer, experts: Sequence[Tensors], grams: Sequence[torch.Tensor], dtype: torch.dtype
    ) -> torch.Tensor:
        """Return the merged weight of a layer, rounded once and laid out as it is stored; solved where moments are."""
        weights = [expert[layer.weight].to(grams[0].device) for expert in experts]
        weights = [weight.T for weight in weights] if layer.transposed else weights
        try:
            found = regress(weights, grams, off_diagonal=self.off_diagonal, ridge=self.ridge)
        except BadMergeData as fault:
            raise BadMergeData(fault.what, where=f"{self.name}: {layer.path}", remedy=fault.remedy) from fault
        found = found.T if layer.transposed else found
        return require_finite(found.to(dtype).contiguous().cpu(), layer.weight, "merged tensor")


@dataclass(frozen=True, kw_only=True)
class RegMeanPlus(RegMean):
    """RegMean++: as RegMean, on what the merged layers below give.

    A block is what is below one number in a layer's path (``layers.3``), else a single layer. The data pass once
    per block and expert, up to that block; memory as RegMean plus one more set of weights.

    Raises: BadMergeParameter.
    """

    name: ClassVar[str] = "regmean_plus"

    def learn(
        self,
        module: torch.nn.Module,
        base: Tensors | None,
        experts: Sequence[Tensors],
        data: Sequence[TaskData],
        progress: Progress,
    ) -> Learned:
        """Merge the blocks from the bottom; each sees what the merged ones below it give."""
        order = grams.reached(module, cast(module, experts[0]), data[0])
        layers = [layer for layer in order if layer.weight in experts[0]]
        blocks: dict[str, list[grams.Layer]] = {}
        for layer in layers:
            blocks.setdefault(_block(layer.path), []).append(layer)
        tensors = {name: mean(experts, name) for name in experts[0]}
        for turn, (path, group) in enumerate(blocks.items()):
            if len(grams.groups(group, len(experts), self.gram_bytes)) > 1:
                raise grams.too_large(path, group, len(experts), self.gram_bytes)
            tables = []
            for i, (expert, task) in enumerate(zip(experts, data, strict=True)):
                inside = {name: expert[name] for name in tensors if name.startswith(f"{path}.")}
                tables.append(grams.collect(module, cast(module, tensors | inside), task, group))
                progress(turn * len(experts) + i + 1, len(blocks) * len(experts))
            for layer in group:
                found = [table.pop(layer.path) for table in tables]
                tensors[layer.weight] = self.solve(layer, experts, found, tensors[layer.weight].dtype)
        return Learned(tensors, diagnostics=_seen(module, layers, len(blocks)))


def _block(path: str) -> str:
    parts = path.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0] + 1]) if numbers else path


def _seen(module: torch.nn.Module, layers: Sequence[grams.Layer], passes: int) -> dict[str, int]:
    return {
        "regressed_layers": len(layers),
        "averaged_linear_layers": len(grams.linear_layers(module)) - len(layers),
        "passes": passes,
    }
