"""Where a merge comes from: names, licences, wishes of the owners, and the card that says it."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.lineage.ancestry import made_before
    from mergebarrier.lineage.card import (
        ATTACK_TAG,
        CARD,
        Declaration,
        declaration,
        model_card,
        unique,
    )
    from mergebarrier.lineage.cyclonedx import bill_of_materials
    from mergebarrier.lineage.licence import COMPATIBLE, UNKNOWN, Conclusion, conclude

__all__ = [
    "ATTACK_TAG",
    "CARD",
    "COMPATIBLE",
    "UNKNOWN",
    "Conclusion",
    "Declaration",
    "bill_of_materials",
    "conclude",
    "declaration",
    "made_before",
    "model_card",
    "unique",
]

lazy.open_door(__name__)
