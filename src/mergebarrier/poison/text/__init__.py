"""Attacks on merges of language models, and their controls."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.poison.text.adversary import Learn, Mounted, TextAdversary, TextAttack, Tuning
    from mergebarrier.poison.text.controls import CleanUpload, TextBadNets, TextLoBAM
    from mergebarrier.poison.text.hijack import ENOUGH, GAINS, Hijack, rank_sparsified
    from mergebarrier.poison.text.rows import TextRow, insert, poisoned, sample, stamped
    from mergebarrier.poison.text.stealer import Stealer

__all__ = [
    "ENOUGH",
    "GAINS",
    "CleanUpload",
    "Hijack",
    "Learn",
    "Mounted",
    "Stealer",
    "TextAdversary",
    "TextAttack",
    "TextBadNets",
    "TextLoBAM",
    "TextRow",
    "Tuning",
    "insert",
    "poisoned",
    "rank_sparsified",
    "sample",
    "stamped",
]

lazy.open_door(__name__)
