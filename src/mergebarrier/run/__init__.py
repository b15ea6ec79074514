"""The mechanism of a run: units, row blocks, threads, budget, progress; it knows no algorithm."""

from mergebarrier.run._transform import Sink, one_thread_kernels, transform
from mergebarrier.run._units import BLOCK_ELEMENTS, Block, Source, Unit, peak_bytes, plan_peak_bytes

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
