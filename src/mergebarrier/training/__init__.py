"""The one deterministic training loop that every trained method uses."""

from mergebarrier.training._lora import LLAMA_LINEARS, Example, LoraRecipe, Training, train_lora

__all__ = ["LLAMA_LINEARS", "Example", "LoraRecipe", "Training", "train_lora"]
