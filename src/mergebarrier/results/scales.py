"""Utility, the one figure that merges are compared by: the smaller of both skills, each from its base to its expert.

a(score) = clip((score - base) / (expert - base), 0, 1)
utility  = min over both tasks of a
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mergebarrier.results.audit import Reference
from mergebarrier.results.rows import Cell


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Where the base (0) and the expert (1) of one task are."""

    base: float = 0.0
    expert: float = 1.0

    def relative(self, score: float) -> float:
        """Place a score between base and expert, clipped to [0, 1]; 0 where the expert is no better than the base."""
        if self.expert <= self.base:
            return 0.0
        return min(1.0, max(0.0, (score - self.base) / (self.expert - self.base)))


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Both tasks' scales."""

    protected: Scale
    partner: Scale

    def utility(self, skill_protected: float, skill_partner: float) -> float:
        """Return the smaller of both relative skills."""
        return min(self.protected.relative(skill_protected), self.partner.relative(skill_partner))

    def of(self, cell: Cell) -> float:
        """Return the utility of a merge."""
        return self.utility(cell.skill_protected.rate, cell.skill_partner.rate)

    def rank(self, cell: Cell) -> tuple[float, float]:
        """Order merges by utility, those of equal utility by the sum of both skills."""
        return self.of(cell), cell.skill_protected.rate + cell.skill_partner.rate

    def interval(self, cell: Cell) -> tuple[float, float]:
        """Return utility at the lower and at the upper bounds of both skills' intervals."""
        ours, theirs = cell.skill_protected, cell.skill_partner
        return self.utility(ours.low, theirs.low), self.utility(ours.high, theirs.high)


def scales_of(references: Mapping[str, Reference]) -> Scales:
    """Return the scales that a result's single models define; plain skills where one of them is not there."""
    base, partner = references.get("base"), references.get("partner")
    ours = references.get("original", references.get("protected"))
    if base is None or partner is None or ours is None:
        return Scales(protected=Scale(), partner=Scale())
    return Scales(
        protected=Scale(base=base.skill_protected.rate, expert=ours.skill_protected.rate),
        partner=Scale(base=base.skill_partner.rate, expert=partner.skill_partner.rate),
    )
