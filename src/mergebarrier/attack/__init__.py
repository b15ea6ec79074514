"""Where attacks meet encoders and folders: make a poisoned expert, measure what it does to a merge."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.attack.folder import PURPOSE, TAG, OffTask, PoisonSpec, make_poisoned
    from mergebarrier.attack.measure import MeasureSpec, measure_backdoor

__all__ = [
    "PURPOSE",
    "TAG",
    "MeasureSpec",
    "OffTask",
    "PoisonSpec",
    "make_poisoned",
    "measure_backdoor",
]

doors.open_lazily(__name__)
