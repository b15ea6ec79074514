"""Fingerprints: ``fingerprint_embed`` marks a model, ``fingerprint_verify`` asks suspects."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.api.fingerprint.embed import (
        FingerprintPlan,
        FingerprintReport,
        fingerprint_embed,
        plan_fingerprint,
    )
    from mergebarrier.api.fingerprint.suspects import RecognitionReport, fingerprint_verify

__all__ = [
    "FingerprintPlan",
    "FingerprintReport",
    "RecognitionReport",
    "fingerprint_embed",
    "fingerprint_verify",
    "plan_fingerprint",
]

lazy.open_door(__name__)
