"""Where a merge comes from: names, licences, wishes of the owners, and the card that says it."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.lineage.ancestry import made_before
    from mergebarrier.lineage.card import (
        ATTACK_TAG,
        BARRED_TAG,
        CARD,
        PROTECTED_TAG,
        WISH_TAG,
        Declaration,
        declaration,
        declared,
        has_words,
        marked,
        spoken,
        tables_about,
        unmarked,
    )
    from mergebarrier.lineage.cyclonedx import bill_of_materials
    from mergebarrier.lineage.licence import UNKNOWN, spdx_identifier
    from mergebarrier.lineage.merged import (
        COMPATIBLE,
        Conclusion,
        conclude,
        model_card,
        refused,
    )
    from mergebarrier.lineage.parents import Find, inherited

__all__ = [
    "ATTACK_TAG",
    "BARRED_TAG",
    "CARD",
    "COMPATIBLE",
    "PROTECTED_TAG",
    "UNKNOWN",
    "WISH_TAG",
    "Conclusion",
    "Declaration",
    "Find",
    "bill_of_materials",
    "conclude",
    "declaration",
    "declared",
    "has_words",
    "inherited",
    "made_before",
    "marked",
    "model_card",
    "refused",
    "spdx_identifier",
    "spoken",
    "tables_about",
    "unmarked",
]

lazy.open_door(__name__)
