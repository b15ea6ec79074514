"""From a checkpoint to a live module, without obeying the folder."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.evaluate.base.load import fill_stock, load_module, load_tokenizer, stock_library, tokenizer_of
    from mergebarrier.evaluate.base.prose import CHECK_TEXT

__all__ = [
    "CHECK_TEXT",
    "fill_stock",
    "load_module",
    "load_tokenizer",
    "stock_library",
    "tokenizer_of",
]

doors.open_lazily(__name__)
