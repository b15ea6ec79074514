"""From a checkpoint to a live module, without running code from the folder."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.evaluate.base.compute_dtype import Speed, compute_dtype, processor_speed
    from mergebarrier.evaluate.base.load import load_module, load_tokenizer, tokenizer_of
    from mergebarrier.evaluate.base.oracles import Budget, Predictor, Suspect
    from mergebarrier.evaluate.base.prose import CHECK_TEXT
    from mergebarrier.evaluate.base.stock import StockClass, fill_stock, stock_library

__all__ = [
    "CHECK_TEXT",
    "Budget",
    "Predictor",
    "Speed",
    "StockClass",
    "Suspect",
    "compute_dtype",
    "fill_stock",
    "load_module",
    "load_tokenizer",
    "processor_speed",
    "stock_library",
    "tokenizer_of",
]

doors.open_lazily(__name__)
