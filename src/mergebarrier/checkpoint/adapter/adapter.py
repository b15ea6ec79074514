"""Open the folder of an adapter of peft, or refuse it with one line.

    adapter_config.json + adapter_model.safetensors  ->  Adapter: its factors or updates, whole tensors, rows of tokens

Source: the folder of peft 0.21.2.  Differs: weights that are a pickle are never opened, and a folder that holds a whole
model too is refused, since tools disagree about which one counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from mergebarrier.checkpoint.adapter.config import ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterConfig, read_adapter_config
from mergebarrier.checkpoint.adapter.contents import Factors, TrainedRows, sort_tensors
from mergebarrier.checkpoint.adapter.kinds import Update
from mergebarrier.checkpoint.bytes import TensorInfo, open_regular
from mergebarrier.checkpoint.read import (
    INDEX,
    LICENCE_FILES,
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    PIECE_FILES,
    SINGLE,
    TEMPLATE_FOLDER,
    Checkpoint,
    check_side_file_sizes,
    code_of,
    is_of_tokenizer,
    list_folder,
    read_shard,
    refusal,
    side_files_of,
)
from mergebarrier.errors import AdapterRefused, BadAdapter, PickleRefused
from mergebarrier.lazy import torch

PICKLE_NAME = "adapter_model.bin"
#: Weights that some trainers of models that see keep beside the factors: projectors, heads, norms.
_BESIDE = ("non_lora_trainables.bin", "non_lora_state_dict.bin", "mm_projector.bin")
_MLX = "adapters.safetensors"
#: Rows of added tokens, as vLLM reads them beside the factors; peft does not.
_NEW_ROWS = "new_embeddings.safetensors"
_CARDS = (ADAPTER_CONFIG, "README.md", *LICENCE_FILES, "NOTICE", "USE_POLICY.md", "THIRD_PARTY_LICENSES")


class Adapter:
    """An opened adapter; made by ``open_adapter``, closed by ``close`` or a ``with`` block.

    Attributes:
      path:    the folder as the user gave it.
      config:  AdapterConfig.
      weights: its tensors, readable like those of a model, its model card and licence, and its tokenizer if it has one.
      factors: module -> Factors, in the order of the modules' names.
      whole:   name of a tensor of the base -> the tensor in its place.
      tokens:  module -> single rows of its weight.
      updates: module -> its update, where the adapter is no LoRA.
    """

    def __init__(self, path: Path, config: AdapterConfig, weights: Checkpoint) -> None:
        """Sort and check the tensors; the descriptors belong to ``weights``."""
        self.path, self.config, self.weights = path, config, weights
        held = sort_tensors(path, config, weights.tensors)
        self.factors: Mapping[str, Factors] = held.factors
        self.whole: Mapping[str, TensorInfo] = held.whole
        self.tokens: Mapping[str, TrainedRows] = held.tokens
        self.updates: Mapping[str, Update] = held.updates

    def __enter__(self) -> Self:
        """Return the adapter itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    @property
    def name(self) -> str:
        """As ``Checkpoint.name``."""
        return self.weights.name

    def close(self) -> None:
        """Close the file; reading afterwards is a fault of the caller."""
        self.weights.close()

    def read(self, module: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return B (out, r) and A (r, in) of a module in float64, kernels flat; its update is s B A."""
        factors = self.factors[module]
        b, a = (self.weights.read(info.name).double().flatten(1) for info in (factors.b, factors.a))
        return b, a


def open_adapter(path: str | os.PathLike[str], *, max_header_bytes: int = MAX_HEADER_BYTES) -> Adapter:
    """Open and check the folder of an adapter.

    Args:
      path:             the folder with adapter_config.json and adapter_model.safetensors.
      max_header_bytes: cap on the header.
    Returns: Adapter; close it, or use it in a ``with`` block.
    Raises:  BadAdapter, AdapterRefused, PickleRefused, NotACheckpoint, UnsafePath, BadHeader, BadConfig, BadDtype,
             LimitExceeded, RemoteCodeRefused; each names the file and what to do.
    """
    path = Path(path)
    names = list_folder(path)
    root = path.resolve()
    if ADAPTER_CONFIG not in names:
        raise BadAdapter(f"{ADAPTER_CONFIG} is missing", where=path, remedy="download the adapter again, all files")
    if SINGLE in names or INDEX in names:
        raise BadAdapter(
            "the folder holds both an adapter and a whole model",
            where=path,
            remedy="move one of them to another folder",
        )
    if ADAPTER_WEIGHTS not in names:
        if PICKLE_NAME in names:
            raise PickleRefused(
                "the weights are a pickle, which runs code when it is loaded; it is never opened here",
                where=path / PICKLE_NAME,
                remedy="load it with peft in a sandbox and save it again, which writes safetensors",
            )
        what, remedy = f"{ADAPTER_WEIGHTS} is missing", "download the adapter again, all files"
        if _MLX in names:
            what, remedy = "an adapter of mlx-lm, which is not read", "fuse it (mlx_lm.fuse) and give the result"
        raise BadAdapter(what, where=path, remedy=remedy)
    beside = next((name for name in _BESIDE if name in names), None)
    if beside is not None:
        raise PickleRefused(
            "weights that were trained beside the adapter, in a pickle, which is never opened here",
            where=path / beside,
            remedy="merge both with the trainer's own script and give the result, or remove the file",
        )
    if _NEW_ROWS in names:
        raise AdapterRefused(
            "rows of added tokens beside the adapter, which are not read",
            where=path / _NEW_ROWS,
            remedy="save the adapter with its embeddings (peft: save_embedding_layers=True), or remove the file",
        )
    config = read_adapter_config(root)
    side_files, code = tuple(name for name in _CARDS if name in names), dict[str, tuple[str, ...]]()
    if not names.isdisjoint(PIECE_FILES):  # without pieces the other files of a tokenizer speak of the base's
        own = frozenset(name for name in names if is_of_tokenizer(name) or f"{name}/" == TEMPLATE_FOLDER)
        tokens = side_files_of(root, own, ())
        code = code_of(root, tokens, {})
        refused = refusal(root, code, tokens, {}) if code else None
        if refused is not None:
            raise refused
        side_files += tokens
    check_side_file_sizes(root, side_files)
    fd, real = open_regular(root, ADAPTER_WEIGHTS)
    try:
        shard = read_shard(path, ADAPTER_WEIGHTS, fd, max_header_bytes, MAX_TENSORS)
        weights = Checkpoint(path, root, dict(config.document), (shard,), side_files, {ADAPTER_WEIGHTS: (fd, real)})
        return Adapter(path, config, weights.without(code, None))
    except BaseException:
        os.close(fd)
        raise


def is_adapter(path: str | os.PathLike[str]) -> bool:
    """Say whether a folder holds an adapter's configuration."""
    return os.path.lexists(Path(path) / ADAPTER_CONFIG)
