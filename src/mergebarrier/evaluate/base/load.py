"""From a validated checkpoint to a live module, without letting the library read the folder.

The weights come through our own reader, the configuration through an allow-list of keys, and the class is the stock one
that the table of the family names; no file of the checkpoint is seen by any loader, so nothing in it can ask for code,
for a kernel or for the network.  The tokenizer is the plain data of ``tokenizer.json``; no chat template is rendered.

    module = StockClass(StockConfig(allowed keys)) <- tensors of the checkpoint, each cast once to ``dtype``

Source: CVE-2026-4372.  Differs from the usual scratch folder of rewritten files: there is no folder at all.
"""

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import torch

from mergebarrier.arch import describe
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.checkpoint.bytes import FLOAT_NAMES, TORCH
from mergebarrier.errors import BadConfig, ConfigMismatch, MissingExtra, MissingTensor, UnsupportedFeature, clean
from mergebarrier.evaluate.base.compute_dtype import AUTO, compute_dtype

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn


#: What a configuration may say: sizes, constants of the function and token ids.  Everything else stays behind.
CONFIG_KEYS = (
    "activation_function", "attention_bias", "bos_token_id", "eos_token_id", "head_dim", "hidden_act", "hidden_size",
    "intermediate_size", "layer_norm_epsilon", "layer_types", "max_position_embeddings", "max_window_layers",
    "mlp_bias", "n_embd", "n_head", "n_inner", "n_layer", "n_positions", "num_attention_heads", "num_hidden_layers",
    "num_key_value_heads", "pad_token_id", "reorder_and_upcast_attn", "rms_norm_eps", "rope_parameters",
    "rope_scaling", "rope_theta", "scale_attn_by_inverse_layer_idx", "scale_attn_weights", "sliding_window",
    "tie_word_embeddings", "use_sliding_window", "vocab_size",
)  # fmt: skip
MAX_SIZE = 2**31


def load_module(checkpoint: Checkpoint, dtype: str = AUTO) -> "nn.Module":
    """Build the stock module of a checkpoint and fill it.

    Args:
      checkpoint: an opened model folder of a family in the tables.
      dtype:      "auto", "bfloat16", "float32", "float16" or "float64": of the weights and of the arithmetic; "auto"
                  is what this machine computes in fastest.  Rotary frequencies stay in float32.
    Returns: nn.Module in evaluation mode on the CPU; the caller decides about threads.
    Raises:  ArchError (unknown family, names or shapes), BadConfig, NonFinite, MissingExtra without transformers.
    Numerics: deterministic; uses no random numbers.
    """
    dtype = compute_dtype(dtype)
    if dtype not in FLOAT_NAMES:
        raise ValueError(f"{dtype!r} is not one of {AUTO}, {', '.join(FLOAT_NAMES)}")
    architecture = describe(checkpoint)
    stock = getattr(stock_library(), str(checkpoint.config["architectures"][0]))
    where = checkpoint.path / "config.json"
    allowed = {key: value for key, value in checkpoint.config.items() if key in CONFIG_KEYS}
    for key, value in allowed.items():
        if isinstance(value, int) and abs(value) > MAX_SIZE:
            raise BadConfig(f"{key} = {clean(value)} is not a size", where=where, remedy="repair config.json")
    allowed["tie_word_embeddings"] = architecture.tied
    weights = {
        name: checkpoint.read(name).to(TORCH[FLOAT_NAMES[dtype]])
        for name in checkpoint.tensors
        if name not in architecture.verbatim
    }
    checkpoint.verify_unchanged()
    return fill_stock(stock, {**allowed, "use_cache": False}, weights, TORCH[FLOAT_NAMES[dtype]], checkpoint.path)


class StockClass(Protocol):
    """A class of transformers, as far as it is used here."""

    config_class: Callable[..., object]

    def __call__(self, config: object, /) -> "nn.Module":
        """Build the module on a configuration."""
        ...

    def from_pretrained(
        self, source: None, /, **options: object
    ) -> "tuple[nn.Module, Mapping[str, Collection[object]]]":
        """Build it and fill it; with ``output_loading_info``, also what did not fit."""
        ...


def fill_stock(
    stock: StockClass, config: dict[str, object], weights: dict[str, torch.Tensor], dtype: torch.dtype, path: Path
) -> "nn.Module":
    """Build a stock class on keys of a configuration and fill it; every tensor of it must come from ``weights``.

    Raises: BadConfig, MissingTensor, ConfigMismatch, naming the folder ``path``.
    """
    where = path / "config.json"
    with _quiet(stock_library()):
        try:
            module, report = stock.from_pretrained(
                None,
                config=stock.config_class(**config),
                state_dict=weights,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:
            if isinstance(error, MemoryError) or "alloc" in str(error):
                raise
            raise BadConfig(
                f"the stock class refuses it: {clean(error)}", where=where, remedy="repair config.json"
            ) from error
    for fault, kind in (("missing_keys", MissingTensor), ("mismatched_keys", ConfigMismatch)):
        if report[fault]:
            raise kind(
                "the stock class cannot take this tensor as stored",
                where=f"{path}: {clean(sorted(map(str, report[fault]))[0])}",
                remedy="use the config.json that belongs to these weights",
            )
    return module.eval()


def load_tokenizer(checkpoint: Checkpoint) -> "Tokenizer":
    """Build the tokenizer of a checkpoint from ``tokenizer.json`` alone.

    Args:
      checkpoint: an opened model folder.
    Returns: tokenizers.Tokenizer without padding and truncation.
    Raises:  UnsupportedFeature when there is no tokenizer.json; BadConfig when it is malformed; MissingExtra.
    """
    where = checkpoint.path / "tokenizer.json"
    if "tokenizer.json" not in checkpoint.side_files:
        raise UnsupportedFeature(
            "the folder has no tokenizer.json",
            where=checkpoint.path,
            remedy="save the tokenizer once with a current transformers and copy the file into the folder",
        )
    return tokenizer_of(checkpoint.read_side_file("tokenizer.json"), where)


def tokenizer_of(data: bytes, where: object) -> "Tokenizer":
    """Build a tokenizer from the bytes of a ``tokenizer.json``; ``where`` is named in errors, else as above."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise _missing("tokenizers") from error
    try:
        text = data.decode("utf-8")
        json.loads(text)
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the bindings raise a bare Exception for a malformed table
        if isinstance(error, MemoryError):
            raise
        raise BadConfig(f"not a tokenizer: {clean(error)}", where=where, remedy="download the file again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def stock_library() -> ModuleType:
    """Return transformers, set to stay off the network; MissingExtra where it is not installed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import transformers
    except ImportError as error:
        raise _missing("transformers") from error
    library: ModuleType = transformers
    return library


def _missing(package: str) -> MissingExtra:
    return MissingExtra(
        "running a model needs the extra 'eval'", where=package, remedy="pip install 'mergebarrier[eval]'"
    )


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Keep the library's bars and notices off the terminal inside the block."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
