"""The mechanism of a run: units, row blocks, threads, budget, progress; it knows no algorithm."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.run.transform import Sink, one_thread_kernels, transform
    from mergebarrier.run.units import BLOCK_ELEMENTS, Block, Source, Unit, peak_bytes, plan_peak_bytes

__all__ = [
    "BLOCK_ELEMENTS",
    "Block",
    "Sink",
    "Source",
    "Unit",
    "one_thread_kernels",
    "peak_bytes",
    "plan_peak_bytes",
    "transform",
]

doors.open_lazily(__name__)
