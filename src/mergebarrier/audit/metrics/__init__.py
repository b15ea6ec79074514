"""Figures that several merges, levels, keys or seeds give together."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.audit.metrics.override import alike, matched_control, override
    from mergebarrier.audit.metrics.pareto import front, hypervolume, skills
    from mergebarrier.audit.metrics.price import Price, ceiling, price_notes, price_of, protectors_note
    from mergebarrier.audit.metrics.scale import scale_curve
    from mergebarrier.audit.metrics.spread import Spread, bootstrap, spread_of

__all__ = [
    "Price",
    "Spread",
    "alike",
    "bootstrap",
    "ceiling",
    "front",
    "hypervolume",
    "matched_control",
    "override",
    "price_notes",
    "price_of",
    "protectors_note",
    "scale_curve",
    "skills",
    "spread_of",
]

lazy.open_door(__name__)
