"""Fingerprints: questions that only a marked model answers as its owner chose, also after it was merged."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.fingerprint.exchange import FingerprintTest, answered, exchange_test, least_p
    from mergebarrier.fingerprint.instructional import Instructional
    from mergebarrier.fingerprint.mergeprint import MergePrint
    from mergebarrier.fingerprint.method import DrawnPairs, FingerprintMethod, Language
    from mergebarrier.fingerprint.options import EmbedOptions, FingerprintOptions
    from mergebarrier.fingerprint.pairs import QuestionPair, drawn_pairs, embedded_places, sealed
    from mergebarrier.fingerprint.record import FingerprintRecord, read_record, record_text
    from mergebarrier.fingerprint.registry import FINGERPRINTS

__all__ = [
    "FINGERPRINTS",
    "DrawnPairs",
    "EmbedOptions",
    "FingerprintMethod",
    "FingerprintOptions",
    "FingerprintRecord",
    "FingerprintTest",
    "Instructional",
    "Language",
    "MergePrint",
    "QuestionPair",
    "answered",
    "drawn_pairs",
    "embedded_places",
    "exchange_test",
    "least_p",
    "read_record",
    "record_text",
    "sealed",
]

lazy.open_door(__name__)
