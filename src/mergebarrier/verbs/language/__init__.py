"""Language models for ``scan`` and for cures: uploads one after the other, what they are asked, and their merge."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.verbs.language.cleanse import cured_texts
    from mergebarrier.verbs.language.pool import LanguagePool
    from mergebarrier.verbs.language.scan import TextOutcome, TextScan, scan_texts

__all__ = ["LanguagePool", "TextOutcome", "TextScan", "cured_texts", "scan_texts"]

lazy.open_door(__name__)
