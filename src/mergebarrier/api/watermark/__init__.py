"""Watermarks of a service: ``shield`` its answers, test an ``imitation`` of it or its ``radioactivity``."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.api.watermark.sampled import RadioactivityReport, radioactivity
    from mergebarrier.api.watermark.service import ShieldReport, shield
    from mergebarrier.api.watermark.suspects import ImitationReport, imitation

__all__ = ["ImitationReport", "RadioactivityReport", "ShieldReport", "imitation", "radioactivity", "shield"]

lazy.open_door(__name__)
