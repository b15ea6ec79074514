"""TIES: trim each task vector to its largest entries, elect a sign per entry, merge those that agree.

    S(tau) = the max(1, floor(density n)) entries of largest |tau|;  s = sign(sum_i w_i S(tau_i)), +1 for a zero sum
    merged = theta_0 + lambda * sum_i m_i w_i S(tau_i) / sum_i m_i w_i,   m_i = [sign(w_i S(tau_i)) = s]

Source: Yadav et al., arXiv 2306.01708. Semantics of mergekit 0.1.5: the cut is per tensor and signs are elected after
weighting; ``scope="model"`` and ``elect="unweighted"`` are the paper's. Differs: ties in the cut stay in flat order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from mergebarrier.errors import BadMergeParameter
from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Blocks, Operands, SurveyResult, combine, model_cuts, sparsify
from mergebarrier.merge.methods._thinned import Elected
from mergebarrier.parameters import choice

SCOPES = ("tensor", "model")


@dataclass(frozen=True, kw_only=True)
class Ties(Elected):
    """Trim, elect sign, merge.

    Raises: BadMergeParameter.

    Example:
      >>> import torch
      >>> Ties(density=0.5).merge(torch.zeros(2), [torch.tensor([1.0, -3.0])], name="w")
      tensor([ 0., -3.])
    """

    name: ClassVar[str] = "ties"

    scope: str = choice(
        "tensor",
        choices=SCOPES,
        help="What the cut is taken over: each tensor (mergekit) or all of them at once (the paper).",
        gradient=False,
    )

    def __post_init__(self) -> None:
        """Check every parameter, and that the cut and the rescaling are of the same thing."""
        super().__post_init__()
        if self.scope == "model" and self.rescale not in ("inverse", "none"):
            raise BadMergeParameter(
                "rescaling restores the norm of each tensor, but the entries are selected over the whole model",
                where=f"{self.name}, rescale",
                remedy="give inverse or none",
            )

    @property
    def reads(self) -> int:
        """Two or three surveys for cuts, one for a majority of signs, and the merge."""
        return 1 if self.scope == "tensor" else 4 if self.elect_zero == "majority" else 3

    def survey(self, sizes: Mapping[str, int], read: Blocks, count: int) -> dict[str, SurveyResult]:
        """Find cuts, and the sign of most entries, over all tensors."""
        if self.scope == "tensor":
            return {}
        survey = model_cuts.cuts(sizes, read, self.arithmetic, self.spread_densities(count))
        if self.elect_zero != "majority":
            return survey
        total = 0.0
        for name in sizes:
            tensors = [torch.cat(parts) for parts in zip(*map(_flat, read(name)), strict=True)]
            shape = tuple(tensors[0].shape)
            operands = Operands(
                tensors[0], tuple(tensors[1:]), name, self.arithmetic(tensors), shape, survey=survey[name]
            )
            total += combine.balance(operands, self.parts(operands), self.election)
        return {name: replace(item, tie_sign=1.0 if total >= 0 else -1.0) for name, item in survey.items()}

    def sparsifiers(self, operands: Operands, densities: Sequence[float]) -> list[sparsify.Sparsifier]:
        """Keep the largest magnitudes, of the tensor or of the model."""
        if operands.survey is None:
            return sparsify.by_magnitude(operands, densities)
        cuts = zip(densities, operands.survey.cuts, strict=True)
        return [
            sparsify.KeepLargest(density, cut) if cut else sparsify.KeepAll() if density >= 1 else sparsify.KeepNone()
            for density, cut in cuts
        ]


def _flat(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.detach().reshape(-1) for tensor in tensors]
