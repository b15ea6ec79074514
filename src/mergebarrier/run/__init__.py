"""The mechanism of a run: units, row blocks, threads, budget, progress; it knows no algorithm."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.run.placed import Placed, placed, placed_change
    from mergebarrier.run.transform import Change, Changed, Layout, Sink, change_rows, one_thread_kernels, transform
    from mergebarrier.run.units import (
        BLOCK_ELEMENTS,
        Block,
        Puts,
        Rows,
        Source,
        Tables,
        Unit,
        peak_bytes,
        plan_peak_bytes,
        whole,
    )

__all__ = [
    "BLOCK_ELEMENTS",
    "Block",
    "Change",
    "Changed",
    "Layout",
    "Placed",
    "Puts",
    "Rows",
    "Sink",
    "Source",
    "Tables",
    "Unit",
    "change_rows",
    "one_thread_kernels",
    "peak_bytes",
    "placed",
    "placed_change",
    "plan_peak_bytes",
    "transform",
    "whole",
]

lazy.open_door(__name__)
