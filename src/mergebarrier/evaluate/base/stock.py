"""The stock class of transformers, configured as the folder's own config.json says, without letting it read the folder.

Everything that a configuration says of the function is handed on, nested tables too; what stays behind says how
something is computed, shown or saved, or names a place from which code, kernels or weights would come.  A model that
the files cannot fill is refused before a byte of memory is taken for it.

    module = StockClass(StockConfig(config.json without what stays behind)) <- tensors

Source: CVE-2026-4372.  Differs from the usual scratch folder of rewritten files: there is no folder at all.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch

from mergebarrier.errors import BadConfig, ConfigMismatch, MissingExtra, MissingTensor, clean

if TYPE_CHECKING:
    from torch import nn

#: No number of a configuration is larger: sizes, ids, windows.
MAX_SIZE: Final = 2**31
#: Buffers that a class makes itself may take so many numbers, whatever the files hold.
_FREE_NUMBERS: Final = 2**26
#: Keys that do not touch the function: where the computation runs, what it returns, names of labels, who saved it.
_LEFT_BEHIND: Final = re.compile(
    r"_.*|architectures|auto_map|custom_.*|trust_remote_code|transformers_version|transformers_weights|dtype|torch_dtype"
    r"|attn_implementation.*|experts_implementation.*|quantization_config|compression_config|fusion_config"
    r"|distributed_config|base_model_\w+_plan|output_\w+|return_\w+|use_return_dict|use_cache|torchscript"
    r"|chunk_size_feed_forward|gradient_checkpointing|id2label|label2id|name_or_path"
)
#: Of these, what says who saved a model and how, and nothing of the model.
_OF_SAVERS: Final = re.compile(r"_.*|transformers_version|dtype|torch_dtype")
#: A value that could name a folder, a repository or an address.
_PLACE: Final = re.compile(r"[/\\:]")


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


def stock_config(config: Mapping[str, object], where: object) -> dict[str, object]:
    """Return what a stock class may be told of a configuration, at every depth.

    Args:
      config: parsed config.json.
      where:  named in errors.
    Raises: BadConfig for a number that no size, id or constant can be.
    """
    told = {key: _told(key, value, where) for key, value in config.items() if not _stays(key, value)}
    labels = config.get("id2label")
    if isinstance(labels, Mapping):
        told["num_labels"] = len(labels)
    return told


def _stays(key: str, value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(_LEFT_BEHIND.fullmatch(key)) or any(isinstance(one, str) and _PLACE.search(one) for one in values)


def _told(key: str, value: object, where: object) -> object:
    if isinstance(value, Mapping):
        return stock_config(value, where)
    if isinstance(value, list):
        return [_told(key, one, where) for one in value]
    if isinstance(value, int) and abs(value) > MAX_SIZE:
        raise BadConfig(f"{clean(key)} = {clean(value)} is not a size", where=where, remedy="repair config.json")
    return value


def configure_alike(config: Mapping[str, object], other: Mapping[str, object], where: object) -> bool:
    """Whether a stock class makes one model of two configurations: what one leaves out, the other says as the default.

    What stays behind must be the same to the letter, but for who saved it.

    Args:
      config: parsed config.json.
      other:  the same of another folder.
      where:  named in errors.
    Raises: BadConfig, MissingExtra.
    """
    sides = config, other
    beside = [
        {key: one[key] for key in one if _LEFT_BEHIND.fullmatch(key) and not _OF_SAVERS.fullmatch(key)} for one in sides
    ]
    named = config.get("architectures")
    stock: Any = getattr(stock_library(), str(named[0]), None) if isinstance(named, list) and named else None
    if beside[0] != beside[1] or stock is None:
        return False
    try:
        with quiet(stock_library()):
            ours, theirs = (stock.config_class(**stock_config(one, where)).to_dict() for one in sides)
    except Exception as error:
        raise _refused(error, where) from error
    return bool(ours == theirs)


def fill_stock(
    stock: StockClass,
    config: Mapping[str, object],
    weights: Mapping[str, torch.Tensor],
    dtype: torch.dtype,
    path: Path,
) -> "nn.Module":
    """Build a stock class on keys of a configuration and fill it; every tensor of it must come from ``weights``.

    Raises: BadConfig, MissingTensor, ConfigMismatch, naming the folder ``path``.
    """
    where = path / "config.json"
    with quiet(stock_library()):
        try:
            module, report = stock.from_pretrained(
                None,
                config=stock.config_class(**config),
                state_dict=dict(weights),
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        except Exception as error:
            raise _refused(error, where) from error
    for fault, kind in (("missing_keys", MissingTensor), ("mismatched_keys", ConfigMismatch)):
        if report[fault]:
            first: Any = min(report[fault], key=str)
            held = "" if isinstance(first, str) else f", stored {tuple(first[1])} and wanted {tuple(first[2])}"
            raise kind(
                f"the stock class cannot take this tensor as stored{held}",
                where=f"{path}: {clean(first if isinstance(first, str) else first[0])}",
                remedy="use the config.json that belongs to these weights",
            )
    return module.eval()


def check_size(stock: StockClass, config: Mapping[str, object], stored: int, path: Path) -> None:
    """Refuse a configuration of a much larger model than the files hold, before memory is taken for it.

    Args:
      stock:  the class.
      config: from ``stock_config``.
      stored: numbers in the files.
      path:   of the folder, for errors.
    Raises: ConfigMismatch with both counts; BadConfig where the class refuses the configuration.
    """
    where = path / "config.json"
    with quiet(stock_library()), torch.random.fork_rng(devices=()):
        try:
            with torch.device("meta"):
                shapes = stock(stock.config_class(**config))
        except Exception as error:
            raise _refused(error, where) from error
    wanted = sum(tensor.numel() for tensors in (shapes.parameters(), shapes.buffers()) for tensor in tensors)
    if wanted > 2 * stored + _FREE_NUMBERS:
        raise ConfigMismatch(
            f"the configuration describes a model of {wanted} numbers, the files hold {stored}",
            where=where,
            remedy="use the config.json that belongs to these weights",
        )


def _refused(error: Exception, where: object) -> Exception:
    """Return our error for one of the library's; one about memory as it is."""
    if isinstance(error, MemoryError) or "alloc" in str(error):
        return error
    return BadConfig(f"the stock class refuses it: {clean(error)}", where=where, remedy="repair config.json")


@contextmanager
def running(module: "nn.Module") -> Iterator[None]:
    """Inside the block, what a stock class raises while it runs is our error: BadConfig."""
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise _refused(error, type(module).__name__) from error


def stock_library() -> ModuleType:
    """Return transformers, set to stay off the network; MissingExtra where it is not installed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import transformers
    except ImportError as error:
        raise missing_extra("transformers") from error
    library: ModuleType = transformers
    return library


def missing_extra(package: str) -> MissingExtra:
    """Return the error for a package that running a model needs."""
    return MissingExtra(
        "running a model needs the extra 'eval'", where=package, remedy="pip install 'mergebarrier[eval]'"
    )


@contextmanager
def quiet(transformers: ModuleType) -> Iterator[None]:
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
