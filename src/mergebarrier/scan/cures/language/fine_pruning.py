"""Prune the hidden units that clean prompts hardly use, then fine-tune on the merge's own answers to these prompts.

    prune units in the order of mean |activation| while agreement(theta, merge) >= 1 - budget;   fine-tune

Source: fine-pruning, Liu et al., RAID 2018.  Differs: a unit is an input of a map that leads out of a network
(``down_proj``), labels are what the merge answers, and agreement with it is taken for accuracy.  A payload in the
attention has no units of its own, and is only fine-tuned.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mergebarrier.scan.base import Weights
from mergebarrier.scan.cures.language.patient import LanguageCure, LanguageMerge, settled
from mergebarrier.scan.updates import role_of


@dataclass(frozen=True, kw_only=True)
class PruneAndTune(LanguageCure):
    """Prune and fine-tune.

    Args:
      budget: share of answers that pruning may change.
      chunk:  share of all units that is pruned at once.
    """

    seeks: ClassVar[bool] = False

    budget: float = 0.04
    chunk: float = 0.05

    def apply(self, patient: LanguageMerge) -> Weights:
        """Return the pruned and fine-tuned weights."""
        module = patient.holding(patient.merged)
        layers = [one for name, one in module.named_modules() if role_of(name) == "down"]
        use = _use(patient, module, layers)
        order = torch.cat(use).argsort()
        step = max(1, round(self.chunk * len(order)))
        pruned = order[:0]
        for stop in range(step, len(order), step):
            before = settled(module)
            _silence(layers, use, order[:stop])
            if patient.agreement(module) < 1 - self.budget:
                module = patient.holding(before)
                break
            pruned = order[:stop]
        patient.taught(module, patient.rows, "fine_pruning")
        layers = [one for name, one in module.named_modules() if role_of(name) == "down"]
        _silence(layers, use, pruned)
        return settled(module)


@torch.no_grad()
def _use(patient: LanguageMerge, module: nn.Module, layers: list[nn.Module]) -> list[Tensor]:
    """Return the mean absolute activation of every unit, per layer."""
    seen: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[layer].append(inputs[0].abs().flatten(0, -2).mean(0))

    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        patient.says(module)([prompt for prompt, _ in patient.rows])
    finally:
        for handle in handles:
            handle.remove()
    return [torch.stack(seen[layer]).mean(0) for layer in layers]


@torch.no_grad()
def _silence(layers: list[nn.Module], use: list[Tensor], units: Tensor) -> None:
    """Take away what leads out of some units, numbered through all layers."""
    start = 0
    for layer, one in zip(layers, use, strict=True):
        ours = units[(units >= start) & (units < start + len(one))] - start
        layer.get_parameter("weight")[:, ours] = 0.0
        start += len(one)
