"""The deterministic training loops: low-rank experts of language models, and every weight for any loss."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.training.answers import examples_loss
    from mergebarrier.training.batches import batches, uniform
    from mergebarrier.training.full import FullRecipe, train_full
    from mergebarrier.training.lora import (
        LLAMA_LINEARS,
        Example,
        LoraRecipe,
        Training,
        linears_of,
        train_adapters,
        train_lora,
    )

__all__ = [
    "LLAMA_LINEARS",
    "Example",
    "FullRecipe",
    "LoraRecipe",
    "Training",
    "batches",
    "examples_loss",
    "linears_of",
    "train_adapters",
    "train_full",
    "train_lora",
    "uniform",
]

lazy.open_door(__name__)
