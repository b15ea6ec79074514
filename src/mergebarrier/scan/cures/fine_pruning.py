"""Prune the units that unstamped images hardly use, then fine-tune on the merge's own predictions.

    prune units of a layer in the order of mean |activation| while agreement(theta, theta_m) >= 1 - budget;  fine-tune

Source: fine-pruning, Liu et al., RAID 2018.  Differs: labels are the merge's own predictions, agreement with them is
taken for accuracy, and the layer before the last is the one that is pruned.  A payload that shares its units with the
tasks, as BadMerging's does, is not pruned away.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.errors import BadScanInput
from mergebarrier.scan.base import Weights, head_logits
from mergebarrier.scan.cures.patient import Cure, MergeToCure, module_of


@dataclass(frozen=True)
class FinePruning(Cure):
    """Prune and fine-tune.

    Args:
      budget: share of predictions that pruning may change.
      chunk:  share of the layer's units that is pruned at once.
      batch:  images per task and step of the fine-tuning.
    """

    budget: float = 0.04
    chunk: float = 0.05
    batch: int = 16

    def apply(self, patient: MergeToCure) -> Weights:
        """Return the pruned and fine-tuned weights."""
        if patient.train is None:
            raise BadScanInput("needs a training loop", where="fine-pruning", remedy="pass the argument train")
        pool = patient.pool
        module = module_of(patient, patient.merged)
        layer = _layer(module)
        said = [pool.predict(patient.merged, suspect.images, suspect) for suspect in pool.suspects]
        order = _use(module, layer, torch.cat([suspect.images[:128] for suspect in pool.suspects])).argsort()
        step = max(1, round(self.chunk * len(order)))
        pruned = torch.zeros(0, dtype=torch.int64)
        for stop in range(step, len(order), step):
            before = {name: value.clone() for name, value in layer.state_dict().items()}
            _silence(layer, order[:stop])
            if self._agreement(patient, module, said) < 1 - self.budget:
                layer.load_state_dict(before)
                break
            pruned = order[:stop]

        def loss(step: int) -> Tensor:
            _silence(layer, pruned)
            value = torch.zeros(())
            for suspect in pool.suspects:
                images = patient.batch(suspect, "prune", step, self.batch)
                with torch.no_grad():
                    target = pool.logits(patient.merged, images, suspect).argmax(1)
                value = value + F.cross_entropy(head_logits(module(images), suspect.head, suspect.scale), target)
            return value / len(pool.suspects)

        patient.train(module, loss)
        _silence(layer, pruned)
        return {name: parameter.detach() for name, parameter in module.named_parameters()}

    @staticmethod
    def _agreement(patient: MergeToCure, module: nn.Module, said: list[Tensor]) -> float:
        weights = {name: parameter.detach() for name, parameter in module.named_parameters()}
        same = [
            (patient.pool.predict(weights, suspect.images, suspect) == labels).float()
            for suspect, labels in zip(patient.pool.suspects, said, strict=True)
        ]
        return float(torch.cat(same).mean())


def _layer(module: nn.Module) -> nn.Module:
    """Return the last linear or convolutional layer but one; what follows it reads its units."""
    layers = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    if len(layers) < 2:
        raise BadScanInput(
            f"{len(layers)} linear or convolutional layers, at least two are needed",
            where="fine-pruning",
            remedy="use another cure",
        )
    return layers[-2]


@torch.no_grad()
def _use(module: nn.Module, layer: nn.Module, images: Tensor) -> Tensor:
    """Return the mean absolute activation of every unit."""
    seen: list[Tensor] = []

    def note(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        # Units are channels of a convolution and the last axis of a linear map.
        axis = 1 if isinstance(layer, nn.Conv2d) else -1
        seen.append(output.abs().movedim(axis, 0).flatten(1).mean(1))

    handle = layer.register_forward_hook(note)
    try:
        module(images)
    finally:
        handle.remove()
    return seen[0]


@torch.no_grad()
def _silence(layer: nn.Module, units: Tensor) -> None:
    for parameter in layer.parameters():
        parameter[units] = 0.0
