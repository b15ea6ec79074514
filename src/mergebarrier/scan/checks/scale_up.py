"""Scale-Up as published, for comparison: a filter of inputs, not of models.

Multiply the pixels; an image whose class hardly changes is suspected to carry a trigger.

    SPC(x) = mean_{k in S} [argmax f(clip(k x)) = argmax f(x)],   S = {3, 5, 7, 9, 11};   suspicious: SPC high

Source: Guo et al., ICLR 2023 (the data-free form).  Differs: nothing.  It needs inputs with the trigger, so it cannot
judge a pool before it is used; on images with a black ground scaling changes little, and clean images score high too.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

FACTORS: Final = (3.0, 5.0, 7.0, 9.0, 11.0)


@torch.no_grad()
def scaled_consistency(logits: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return SPC for every image, Float[Tensor, "n"] in [0, 1].

    Args:
      logits: Float[Tensor, "n channels height width"] -> Float[Tensor, "n classes"].
      images: in [0, 1], some of which may carry a trigger.
    """
    said = logits(images).argmax(1)
    same = [(logits((factor * images).clamp(0, 1)).argmax(1) == said).float() for factor in FACTORS]
    return torch.stack(same).mean(0)
