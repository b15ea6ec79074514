"""From a validated checkpoint to a live module, without letting the library read the folder.

The weights come through our own reader, the configuration as ``stock`` hands it on, and the class is the stock one
that the configuration and the table of the family name; no file of the checkpoint is seen by any loader, so nothing in
it can ask for code, for a kernel or for the network.  The tokenizer is the plain data of ``tokenizer.json``; no chat
template is rendered.
"""

from typing import TYPE_CHECKING, Any

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.checkpoint.bytes import FLOAT_NAMES, TORCH, parse_text
from mergebarrier.circuits import Architecture, describe, embedding_of
from mergebarrier.errors import BadConfig, ConfigMismatch, UnsupportedFeature, clean
from mergebarrier.evaluate.base.compute_dtype import AUTO, compute_dtype
from mergebarrier.evaluate.base.device import CPU
from mergebarrier.evaluate.base.stock import check_size, fill_stock, missing_extra, stock_config, stock_library
from mergebarrier.modeling_mergebarrier import with_polynomials
from mergebarrier.published import PLAN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenizers import Tokenizer
    from torch import Tensor, nn


def load_module(checkpoint: Checkpoint, dtype: str = AUTO, device: str = CPU) -> "nn.Module":
    """Build the stock module of a checkpoint, as its config.json says, and fill it.

    Where activations are polynomials their modules come from this package, never from the folder.

    Args:
      checkpoint: an opened model folder of a family in the tables.
      dtype:      "auto", "bfloat16", "float32", "float16" or "float64": of the weights and of the arithmetic; "auto"
                  is what this machine computes in fastest.  Rotary frequencies stay in float32.
      device:     as ``device_named`` returns it; the filled module goes there.
    Returns: nn.Module in evaluation mode on that device; the caller decides about threads.
    Raises:  ArchError (unknown family, names or shapes, two heads where one is tied), BadConfig, NonFinite,
             UnsupportedFeature (the installed library lacks the class), MissingExtra without transformers, UsageError
             for what is no dtype.
    Numerics: deterministic; uses no random numbers.
    """
    dtype = compute_dtype(dtype, "cpu" if device == CPU else "cuda")
    architecture = describe(checkpoint)
    name = str(checkpoint.config["architectures"][0])
    stock: Any = getattr(stock_library(), name, None)
    where = checkpoint.path / "config.json"
    if stock is None:
        raise UnsupportedFeature(
            f"the installed transformers has no {clean(name)}", where=where, remedy="install a newer transformers"
        )
    if PLAN in checkpoint.config:
        stock = with_polynomials(stock)
    config = stock_config(checkpoint.config, where)
    check_size(stock, config, sum(info.numel for info in checkpoint.tensors.values()), checkpoint.path)
    wanted = TORCH[FLOAT_NAMES[dtype]]
    stored = ((name, checkpoint.read(name)) for name in checkpoint.tensors)
    weights = {name: tensor.to(wanted) if tensor.is_floating_point() else tensor for name, tensor in stored}
    checkpoint.verify_unchanged()
    _require_one_head(architecture, weights, where)
    module = fill_stock(stock, config | {"use_cache": False}, weights, wanted, checkpoint.path)
    return module if device == CPU else module.to(device)


def _require_one_head(architecture: Architecture, weights: "Mapping[str, Tensor]", where: object) -> None:
    """Refuse a head that the configuration ties to the embedding and that is another: readers take one or the other."""
    stored = {member.canonical: member.name for circuit in architecture.circuits for member in circuit.members}
    head, embedding = (stored.get(name) for name in (architecture.table.head, embedding_of(architecture.table)))
    if architecture.tied and head and embedding and not weights[head].equal(weights[embedding]):
        raise ConfigMismatch(
            f"it ties the head to the embedding, and {head} is another matrix than {embedding}",
            where=where,
            remedy="use the config.json that belongs to these weights",
        )


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
        raise missing_extra("tokenizers") from error

    def bad(what: str) -> BadConfig:
        return BadConfig(f"not a tokenizer: {what}", where=where, remedy="download the file again")

    parse_text(data, bad, where=where)
    try:
        tokenizer = Tokenizer.from_str(data.decode("utf-8"))
    except BaseException as error:  # the bindings raise a bare Exception for a malformed table, and panics beside it
        if isinstance(error, MemoryError) or not (
            isinstance(error, Exception) or type(error).__name__ == "PanicException"
        ):
            raise
        raise bad(clean(error)) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
