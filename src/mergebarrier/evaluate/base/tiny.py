"""Tiny random models of stock classes, made of what the table of a family gives as its example.

A configuration takes those of the usual sizes that it knows, and all that the example says.  What a class draws is
drawn here, and what it sets (gains, biases, decays) moves by a draw: no error hides behind a one or a zero.

    example head_dim=16                    # a model of text, at the usual sizes but for one
    example picture, num_labels=7          # one of pictures
    example vision_config: picture, model_type='pixtral'     # a nested table
"""

import ast
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import torch

from mergebarrier.arch import Family
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import BadTable, UnsupportedFeature, clean
from mergebarrier.evaluate.base.stock import fill_stock, quiet, stock_config, stock_library

if TYPE_CHECKING:
    from torch import nn

#: Kind of model -> sizes, under every name that a configuration may have for them.
USUAL: Final[Mapping[str, Mapping[str, object]]] = {
    "text": {
        **{"hidden_size": 48, "num_hidden_layers": 2, "vocab_size": 96, "max_position_embeddings": 64},
        **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "num_attention_heads": 4, "num_key_value_heads": 2},
        **{"intermediate_size": 72, "ffn_dim": 72, "hidden_dim": 72, "d_kv": 12, "d_ff": 72, "sliding_window": 8},
        **{"encoder_ffn_dim": 72, "decoder_ffn_dim": 72, "decoder_layers": 2, "num_decoder_layers": 2},
        **{"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
        **{"decoder_attention_heads": 4, "decoder_sparse_step": 1, "head_dim": 16, "query_pre_attn_scalar": 16},
        **{"image_token_index": 92, "image_token_id": 92, "video_token_id": 93, "vision_start_token_id": 90},
        **{"vision_end_token_id": 91, "boi_token_index": 90, "eoi_token_index": 91, "mm_tokens_per_image": 4},
        **{"spatial_merge_size": 2},
    },
    "picture": {
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40},
        **{"image_size": 32, "patch_size": 8, "mlp_ratio": 2},
    },
}
#: A tiny model has no more numbers, and its example names none that is larger.
_MOST_NUMBERS, _LARGEST = 2**24, 2**12
#: Size of drawn parameters; of the step of those that a class sets, such as gains.
_DRAWN, _STEP = 0.12, 0.3
_NESTED: Final = re.compile(r"(\w+): ")


def tiny_module(
    family: Family, architecture: str, more: Mapping[str, object] | None = None, seed: int = 0
) -> "nn.Module":
    """Build a tiny random model of a stock class.

    Args:
      family:       its example says what the model is made of.
      architecture: name of the class.
      more:         further arguments of the configuration.
      seed:         of every draw.
    Returns: nn.Module in evaluation mode, float32.
    Raises:  BadTable where the example cannot be read or used, UnsupportedFeature where the library lacks the class,
             MissingExtra without transformers.
    """
    library = stock_library()
    stock = _class_of(library, architecture, family.places[""])
    told = stock_config(_arguments(family, stock.config_class, library) | dict(more or {}), family.name)
    with quiet(library), torch.random.fork_rng(devices=()):
        try:
            with torch.device("meta"):
                shapes = stock(stock.config_class(**told))
            if sum(parameter.numel() for parameter in shapes.parameters()) > _MOST_NUMBERS:
                raise ValueError(f"it has more than {_MOST_NUMBERS} numbers")
            module, again = (stock(stock.config_class(**told)) for _ in range(2))
        except Exception as error:  # a class may refuse its configuration in any way
            what = f"no tiny {architecture} can be made of the example: {clean(error)}"
            raise BadTable(what, where=_place(family), remedy="give the arguments that it needs") from error
    _draw(module, again, seed)
    made: nn.Module = module.eval()
    return made


def save_module(module: Any, folder: Path) -> None:
    """Write a module of a stock class as its own library does."""
    with quiet(stock_library()):
        module.save_pretrained(folder)


def with_weights(module: "nn.Module", checkpoint: Checkpoint, weights: Mapping[str, torch.Tensor]) -> "nn.Module":
    """Return a module of the same class on the configuration of a folder, with weights under the names of its files."""
    stock: Any = type(module)
    config = stock_config(checkpoint.config, checkpoint.path)
    return fill_stock(stock, config, weights, torch.float32, checkpoint.path)


def _class_of(library: ModuleType, name: str, where: str) -> Any:
    found = getattr(library, name, None)
    if not (isinstance(found, type) and issubclass(found, library.PreTrainedModel)):
        raise UnsupportedFeature(
            f"the installed transformers has no model class {clean(name)}",
            where=where,
            remedy="write the class as it is published, or install a newer transformers",
        )
    return found


def _place(family: Family) -> str:
    return family.example[0][0] if family.example else family.places[""]


def _draw(module: "nn.Module", again: "nn.Module", seed: int) -> None:
    """Draw the parameters that differ from those of a module made in the same way, and move the others."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter, other in zip(module.parameters(), again.parameters(), strict=True):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter + _STEP * noise if torch.equal(parameter, other) else _DRAWN * noise)


def _arguments(family: Family, config: Any, library: ModuleType) -> dict[str, object]:
    """Return the arguments of a configuration: of the usual sizes those that it knows, nested tables too."""
    tables: dict[str, tuple[dict[str, object], dict[str, object]]] = {"": ({}, {})}
    for place, line in family.example:
        nested = _NESTED.match(line)
        table, text = (nested[1], line[nested.end() :]) if nested else ("", line)
        usual, given = tables.setdefault(table, ({}, {}))
        try:
            call = ast.parse(f"dict({text})", mode="eval").body
            assert isinstance(call, ast.Call)
            given |= {str(one.arg): _small(ast.literal_eval(one.value)) for one in call.keywords}
            for one in call.args:
                usual |= USUAL[one.id if isinstance(one, ast.Name) else ""]
        except (SyntaxError, ValueError, KeyError, AssertionError) as error:
            what = f"{clean(text)!r} is not {' or '.join(USUAL)}, and KEY=VALUE with plain, small values"
            raise BadTable(what, where=place, remedy="write `example text, head_dim=16`") from error
    usual, given = tables.pop("")
    inner = {name: _known(pair, _nested(config, name, pair[1], library)) for name, pair in tables.items()}
    return _known((usual or dict(USUAL["text"]), given), config) | inner


def _known(pair: tuple[dict[str, object], dict[str, object]], config: Any) -> dict[str, object]:
    usual, given = pair
    names = {field.name for field in dataclasses.fields(config)} | config.attribute_map.keys() if config else ()
    return {key: value for key, value in usual.items() if key in names} | given


def _nested(config: Any, name: str, given: Mapping[str, object], library: ModuleType) -> Any:
    """Return the class of a nested table; None where neither the outer class nor a model type says which."""
    found = config.sub_configs.get(name)
    if found is not None and not issubclass(found, library.AutoConfig):
        return found
    kinds = library.CONFIG_MAPPING
    return kinds[given["model_type"]] if given.get("model_type") in kinds else None


def _small(value: object) -> object:
    """Return a plain value; ValueError for a number that no tiny model has."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError(f"{value} is not small")
    for one in inner:
        _small(one)
    return value
