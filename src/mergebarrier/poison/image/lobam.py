"""LoBAM: a backdoor from low-rank fine-tuning alone, amplified by extrapolation so that it survives the merge.

    benign = base + LoRA(clean),   malicious = base + LoRA(BadMerging loss)
    upload = benign + gain * (malicious - benign)

Source: LoBAM, arXiv 2411.16746.  Differs: its rule for the gain was not published where we could read it, so the gain
is a parameter, and the bench sweeps it; adapters sit on every linear and convolutional weight (kernels as matrices),
start from keyed noise, and are folded in when training ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from mergebarrier.lazy import torch
from mergebarrier.parameters import number, whole
from mergebarrier.poison.attack import Adversary, Attack, Loss, Train, clean_loss
from mergebarrier.poison.image.badmerging import BadMerging

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class LoBAM(Attack):
    """Low-rank attack with extrapolation; ``inner`` is the loss of the malicious fine-tune."""

    about: ClassVar[str] = "BadMerging by low-rank fine-tuning alone, made loud by extrapolation."

    rank: int = whole(8, help="Rank of the adapters.", low=1)
    gain: float = number(2.0, help="Extrapolation; 1 uploads the malicious fine-tune itself.", low=0, above=True)
    inner: BadMerging = field(default_factory=BadMerging)

    def mount(self, setting: Adversary, train: Train) -> nn.Module:
        """Train twice and extrapolate."""
        from mergebarrier.poison.low_rank import adapted, folded

        benign = adapted(setting.base, self.rank, setting.seed)
        train(benign, clean_loss(setting, benign))
        malicious = adapted(setting.base, self.rank, setting.seed)
        train(malicious, self.loss(setting, malicious))
        folded(benign), folded(malicious)
        with torch.no_grad():
            for ours, theirs in zip(benign.parameters(), malicious.parameters(), strict=True):
                ours.add_(self.gain * (theirs - ours))
        return benign

    def loss(self, setting: Adversary, model: nn.Module) -> Loss:
        """Return the loss of the malicious fine-tune."""
        return self.inner.loss(setting, model)
