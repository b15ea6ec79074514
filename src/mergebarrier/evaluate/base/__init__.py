"""From a checkpoint to a live module, without running code from the folder."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.evaluate.base.answers import answers, continues_text, model_inputs, reads_more, reads_tokens
    from mergebarrier.evaluate.base.compute_dtype import Speed, compute_dtype, processor_speed
    from mergebarrier.evaluate.base.device import device_for, device_named
    from mergebarrier.evaluate.base.gguf_model import GGUFModel, load_gguf
    from mergebarrier.evaluate.base.load import load_module, load_tokenizer, tokenizer_of
    from mergebarrier.evaluate.base.names import ParameterNames, parameter_names
    from mergebarrier.evaluate.base.oracles import Budget, Predictor, Suspect
    from mergebarrier.evaluate.base.prose import CHECK_TEXT
    from mergebarrier.evaluate.base.save import save_weights
    from mergebarrier.evaluate.base.stock import (
        StockClass,
        configure_alike,
        fill_stock,
        running,
        stock_library,
    )
    from mergebarrier.evaluate.base.tiny import save_module, tiny_module, with_weights

__all__ = [
    "CHECK_TEXT",
    "Budget",
    "GGUFModel",
    "ParameterNames",
    "Predictor",
    "Speed",
    "StockClass",
    "Suspect",
    "answers",
    "compute_dtype",
    "configure_alike",
    "continues_text",
    "device_for",
    "device_named",
    "fill_stock",
    "load_gguf",
    "load_module",
    "load_tokenizer",
    "model_inputs",
    "parameter_names",
    "processor_speed",
    "reads_more",
    "reads_tokens",
    "running",
    "save_module",
    "save_weights",
    "stock_library",
    "tiny_module",
    "tokenizer_of",
    "with_weights",
]

lazy.open_door(__name__)
