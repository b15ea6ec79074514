"""An encoder with a head, seen from outside: probabilities for pictures, within a budget of queries.

p(x) = softmax(scale * head @ f(x) / |f(x)|)
"""

import torch
from torch import Tensor, nn

from mergebarrier.evaluate.base import Budget
from mergebarrier.evaluate.images.image_scores import class_logits


class EncoderPredictor:
    """A ``Predictor``.

    Args:
      encoder: from ``load_encoder``.
      head:    Float32[Tensor, "classes features"], unit rows.
      scale:   of the logits.
      budget:  queries that may be asked; shared where several predictors are one service.
      batch:   pictures per pass; may change a probability only through rounding.
    """

    def __init__(
        self, encoder: nn.Module, head: Tensor, scale: float, *, budget: Budget | None = None, batch: int = 256
    ) -> None:
        """Keep what answers."""
        self._encoder, self._head, self._scale, self._batch = encoder, head, scale, batch
        self._budget = budget or Budget(None)

    @property
    def queries_left(self) -> int | None:
        """How many pictures may still be asked about; None without a limit."""
        return self._budget.left

    @torch.no_grad()
    def predict_proba(self, inputs: Tensor) -> Tensor:
        """Return class probabilities of pictures [n c h w], UInt8 or Float32 in [0, 1].

        Raises: LimitExceeded when fewer than n queries are left; BadTask when the head does not fit the features.
        """
        self._budget.spend(len(inputs))
        parts = [class_logits(self._encoder, self._head, self._scale, part) for part in inputs.split(self._batch)]
        return torch.cat(parts).softmax(-1)
