"""A live module with its weights, or the keys and values that it remembers, in a storage format.

Matrices are rounded along their inputs, whichever way a class stores them; vectors (gains, biases) stay, as in GGUF.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mergebarrier.evaluate.stress.formats import Format


@torch.no_grad()
def round_weights(module: nn.Module, weights: Mapping[str, Tensor], rounded: Format) -> None:
    """Write weights into a module, rounded.

    Args:
      module:  in float32; its parameters are overwritten.
      weights: of all its parameters, by name.
      rounded: the format.
    """
    turned = {
        f"{name}.weight" for name, part in module.named_modules() if type(part).__name__ == "Conv1D"
    }  # stored (inputs, outputs)
    for name, parameter in module.named_parameters():
        weight = weights[name]
        if weight.dim() > 1:
            weight = rounded(weight.mT.contiguous()).mT if name in turned else rounded(weight)
        parameter.copy_(weight)


@contextmanager
def rounded_cache(module: nn.Module, rounded: Format) -> Iterator[None]:
    """Let a model of heads attend to keys and values that have been through a format, head by head."""
    from transformers import DynamicCache

    def remember(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        del part
        cache: Any = DynamicCache()
        update = cache.update
        cache.update = lambda key, value, *more, **also: update(rounded(key), rounded(value), *more, **also)
        return args, kwargs | {"past_key_values": cache, "use_cache": True}

    body: Any = module.base_model
    handle = body.register_forward_pre_hook(remember, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
