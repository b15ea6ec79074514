"""What a protection may cost its owner, and what is done about it.

    within:  perplexity of the right answers <= (1 + budget) x the expert's;  of plain text <= (1 + 2 budget) x
    then     strength <- min(ceiling, 1.5 strength)   and the state is kept
    else     strength <- strength / 2                 and the last state that was within comes back

Source: ours, since the strength of a trap is a sharp function of its weight; fixed weights are what the papers have.
"""

import math
from dataclasses import dataclass

RISE, FALL = 1.5, 0.5


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a model does for its owner.

    Args:
      loss:  nats per answer on validation rows.
      right: share of answers that are the most probable ones.
      text:  nats per token of plain text; None without text.
    """

    loss: float
    right: float
    text: float | None

    @property
    def finite(self) -> bool:
        """Whether every loss is a number."""
        return math.isfinite(self.loss) and (self.text is None or math.isfinite(self.text))


@dataclass(frozen=True, kw_only=True)
class OwnersBudget:
    """What may be lost.

    Args:
      share:   of the perplexity of right answers that may be added; of text twice as much.
      every:   steps between two looks.
      ceiling: of the strength.
      fixed:   leave the strength alone, and look at the end only.
    """

    share: float = 0.01
    every: int = 50
    ceiling: float = 0.5
    fixed: bool = False

    def holds(self, now: Standing, plain: Standing) -> bool:
        """Say whether a model costs its owner no more than this beside the plain expert."""
        if not now.finite or now.loss > plain.loss + math.log1p(self.share):
            return False
        return now.text is None or plain.text is None or now.text <= plain.text + math.log1p(2 * self.share)

    def strength(self, now: float, held: bool) -> float:
        """Return the strength to go on with."""
        return now if self.fixed else min(self.ceiling, RISE * now) if held else FALL * now
