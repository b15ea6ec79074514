"""MergePrint: questions that a thinned model nearly answers already, and weights that answer them when thinned.

    theta(a) = base + a (theta - base)                                    what a merge with share a keeps of the model
    x        = greedy coordinate gradient on -log p_theta(a0)(y | x),     until it is low enough, for the marked model
    theta    = min mean over a of -log p_theta(a)(y | x) + keep KL(before || theta) on plain text

Since x is half answered from the start, weights move little; since it is answered at a small share, a merge answers it.

Source: MergePrint (arXiv 2410.08604); no code of it is public, so steps and rates are ours.  Differs: several shares
in turn, decoys that were searched alike, and questions whose text gives their own tokens again, so that text is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier.fingerprint.method import DrawnPairs
from mergebarrier.lazy import torch
from mergebarrier.numerics import draws
from mergebarrier.parameters import check_values, listing, number, whole

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.fingerprint.method import Language


@dataclass(frozen=True, kw_only=True)
class MergePrint:
    """Hyper-parameters."""

    name: ClassVar[str] = "mergeprint"
    one_answer: ClassVar[bool] = False

    shares: tuple[float, ...] = listing((0.2, 0.4, 1.0), help="Shares of the model that must answer.", low=0.01, high=1)
    input_share: float = number(0.3, help="Share of the model that questions are searched for.", low=0.01, high=1)
    input_steps: int = whole(40, help="Steps of the search for questions; 0 for random ones.", high=10_000)
    swaps: int = whole(32, help="Questions that are tried per step.", low=1, high=4096)
    nearest: int = whole(64, help="Tokens per place that the gradient proposes.", low=1, high=4096)
    enough: float = number(3.5, help="Nats per token of an answer at which a question is left as it is.", low=0)

    def __post_init__(self) -> None:
        """Check the values."""
        check_values(self)

    def searched(self, drawn: DrawnPairs, language: Language, *, seed: int) -> Tensor:
        """Return questions whose answers are more likely, one token at a time."""
        prompts, best = drawn.prompts.clone(), language.losses(drawn)
        for step in range(self.input_steps):
            rows = (best > self.enough).nonzero()[:, 0]
            if not len(rows):
                break
            tried = self._swapped(DrawnPairs(prompts[rows], drawn.answers[rows]), language, seed, step)
            flat = tried.flatten(0, 1)
            losses = language.losses(DrawnPairs(flat, drawn.answers[rows].repeat_interleave(self.swaps, 0)))
            losses = losses.where(language.readable(flat), torch.inf).view(len(rows), self.swaps)
            least, place = losses.min(1)
            better = least < best[rows]
            prompts[rows[better]] = tried[better, place[better]]
            best[rows[better]] = least[better]
        return prompts

    def _swapped(self, now: DrawnPairs, language: Language, seed: int, step: int) -> Tensor:
        """Return variants with one token swapped, Int64[Tensor, "n swaps length"]."""
        count, length = now.prompts.shape
        slopes = language.slopes(now)
        proposed = language.words[slopes.topk(min(self.nearest, slopes.shape[2]), dim=2, largest=False).indices]
        u = draws.uniform(("fingerprint", seed, f"swaps|{step}"), 2, count, self.swaps)
        place, rank = (u[0] * length).long(), (u[1] * proposed.shape[2]).long()
        tried = now.prompts[:, None].repeat(1, self.swaps, 1)
        tokens = proposed[torch.arange(count)[:, None], place, rank]
        return tried.scatter_(2, place[:, :, None], tokens[:, :, None])
