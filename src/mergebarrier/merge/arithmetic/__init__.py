"""The arithmetic under the merge methods: blocks of operands, cuts, masks, signed sums; no method is named here."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.merge.arithmetic import combine, largest, model_cuts, ranks, sparsify
    from mergebarrier.merge.arithmetic.model_cuts import row_blocks
    from mergebarrier.merge.arithmetic.operands import (
        BLOCK,
        Blocks,
        Operand,
        Operands,
        Streamed,
        SurveyResult,
        add_scaled,
        compute_dtype,
        factors_of,
        require_finite,
        store,
        store_rows,
    )
    from mergebarrier.merge.arithmetic.sparsify import KeepAll, Sparsifier

__all__ = [
    "BLOCK",
    "Blocks",
    "KeepAll",
    "Operand",
    "Operands",
    "Sparsifier",
    "Streamed",
    "SurveyResult",
    "add_scaled",
    "combine",
    "compute_dtype",
    "factors_of",
    "largest",
    "model_cuts",
    "ranks",
    "require_finite",
    "row_blocks",
    "sparsify",
    "store",
    "store_rows",
]

lazy.open_door(__name__)
