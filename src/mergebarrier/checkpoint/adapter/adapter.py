"""Open the folder of a LoRA adapter of peft, or refuse it with one line: what its tensors are, and that they fit.

    base_model.model.X.lora_A.weight (r, in), X.lora_B.weight (out, r)     update s B A of the module X
    base_model.model.X.lora_embedding_A (r, rows), X.lora_embedding_B      the same of an embedding, stored transposed
    base_model.model.X.base_layer.weight | .bias, or any name of the base  a whole tensor in place of the base's

Source: the format of peft 0.21.2.  Differs: peft leaves out, with a warning or none, tensors that no target names and
fills in those that are missing; here both are refused, so that a merge never uses something else than peft would load.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from mergebarrier.checkpoint.adapter.config import ADAPTER_CONFIG, INSTEAD, AdapterConfig, read_adapter_config
from mergebarrier.checkpoint.bytes import FLOATS, TensorInfo, open_regular
from mergebarrier.checkpoint.read import (
    INDEX,
    LICENCE_FILES,
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    SINGLE,
    Checkpoint,
    check_side_file_sizes,
    list_folder,
    read_shard,
)
from mergebarrier.errors import AdapterRefused, BadAdapter, PickleRefused, clean

ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLE_NAME = "adapter_model.bin"
ADAPTER_PREFIX = "base_model.model."
_CARDS = (ADAPTER_CONFIG, "README.md", *LICENCE_FILES, "NOTICE", "USE_POLICY.md")
# End of a name -> (of an embedding, which factor).
_ENDS = {
    ".lora_A.weight": (False, "A"),
    ".lora_B.weight": (False, "B"),
    ".lora_embedding_A": (True, "A"),
    ".lora_embedding_B": (True, "B"),
    ".lora_magnitude_vector": (False, "m"),
}
_OTHER_KINDS = (
    "lora_",
    "hada_",
    "lokr_",
    "ia3_",
    "oft_",
    "vera_",
    "boft_",
    "token_adapter",
    "modules_to_save",
    "original_module",
)
_PEFT = "save the adapter again with peft"
_UNGATHERED = "as a sharded trainer (ZeRO-3, FSDP) saves what it did not gather"
_GATHER = "gather the shards and save again, such as by zero_to_fp32.py or with summon_full_params"


@dataclass(frozen=True)
class Factors:
    """One module's update s B A.

    Attributes:
      module:    its name in the base.
      a, b:      A (r, in) and B (out, r) on disk.
      scale:     s.
      embedding: the base stores the transposed update.
      magnitude: DoRA: the length m (out,) of every row of W_0 + s B A; None for plain LoRA.
    """

    module: str
    a: TensorInfo
    b: TensorInfo
    scale: float
    embedding: bool
    magnitude: TensorInfo | None = None

    @property
    def rank(self) -> int:
        """Return r."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Return (out, in) of B A."""
        return self.b.shape[0], self.a.shape[1]


class Adapter:
    """An opened adapter; made by ``open_adapter``, closed by ``close`` or a ``with`` block.

    Attributes:
      path:    the folder as the user gave it.
      config:  AdapterConfig.
      weights: its tensors, readable like those of a model, and its model card and licence.
      factors: module -> Factors, in the order of the modules' names.
      whole:   name of a tensor of the base -> the tensor in its place.
    """

    def __init__(self, path: Path, config: AdapterConfig, weights: Checkpoint) -> None:
        """Sort and check the tensors; the descriptors belong to ``weights``."""
        self.path, self.config, self.weights = path, config, weights
        self.factors: Mapping[str, Factors] = {}
        self.whole: Mapping[str, TensorInfo] = {}
        self.factors, self.whole = _Sorter(self).sorted()

    def __enter__(self) -> Self:
        """Return the adapter itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; reading afterwards is a fault of the caller."""
        self.weights.close()

    def read(self, module: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return B (out, r) and A (r, in) of a module in float64; its update is s B A."""
        factors = self.factors[module]
        return self.weights.read(factors.b.name).double(), self.weights.read(factors.a.name).double()


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
        raise BadAdapter(f"{ADAPTER_WEIGHTS} is missing", where=path, remedy="download the adapter again, all files")
    config = read_adapter_config(root)
    side_files = tuple(name for name in _CARDS if name in names)
    check_side_file_sizes(root, side_files)
    fd, real = open_regular(root, ADAPTER_WEIGHTS)
    try:
        shard = read_shard(path, ADAPTER_WEIGHTS, fd, max_header_bytes, MAX_TENSORS)
        weights = Checkpoint(path, root, dict(config.document), (shard,), side_files, {ADAPTER_WEIGHTS: (fd, real)})
        return Adapter(path, config, weights)
    except BaseException:
        os.close(fd)
        raise


def is_adapter(path: str | os.PathLike[str]) -> bool:
    """Say whether a folder holds an adapter's configuration."""
    return os.path.lexists(Path(path) / ADAPTER_CONFIG)


class _Sorter:
    def __init__(self, adapter: Adapter) -> None:
        self.adapter, self.config = adapter, adapter.config

    def fail(self, name: str, what: str, remedy: str = _PEFT) -> BadAdapter:
        return BadAdapter(what, where=f"{self.adapter.path / ADAPTER_WEIGHTS}: tensor {clean(name)!r}", remedy=remedy)

    def sorted(self) -> tuple[dict[str, Factors], dict[str, TensorInfo]]:
        halves: dict[tuple[str, bool], dict[str, TensorInfo]] = {}
        whole: dict[str, TensorInfo] = {}
        for name, info in self.adapter.weights.tensors.items():
            if not info.numel:
                raise self.fail(name, f"the tensor is empty (shape {info.shape}), {_UNGATHERED}", _GATHER)
            if info.dtype not in FLOATS:
                raise self.fail(name, f"a {info.dtype} tensor of shape {info.shape}; an adapter holds floats")
            if not name.startswith(ADAPTER_PREFIX):
                raise self.fail(name, f"unknown name, not below {ADAPTER_PREFIX}")
            rest = name.removeprefix(ADAPTER_PREFIX)
            end = next((end for end in _ENDS if rest.endswith(end)), None)
            if end is not None:
                embedding, half = _ENDS[end]
                halves.setdefault((rest.removesuffix(end), embedding), {})[half] = info
                continue
            if self.is_spare_copy(rest):
                continue
            theirs = rest.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
            if not self.config.saves(theirs):
                self.check_whole(name, rest)
            if theirs in whole:
                raise self.fail(name, "maps to the same tensor of the base as another one")
            whole[theirs] = info
        factors: dict[str, Factors] = {}
        for (module, embedding), found in sorted(halves.items()):
            if module in factors:
                raise self.fail(
                    factors[module].a.name,
                    "its module has factors of two kinds (lora_A/lora_B and lora_embedding_A/lora_embedding_B)",
                )
            factors[module] = self.factors(module, embedding, found)
        if not factors and not whole:
            raise BadAdapter("the adapter holds no tensor", where=self.adapter.path / ADAPTER_WEIGHTS, remedy=_PEFT)
        return factors, whole

    def is_spare_copy(self, rest: str) -> bool:
        """Say whether peft writes this beside the tensor that it loads: the base's own, or the same once more."""
        plain = rest.replace(".modules_to_save.", ".").replace(".original_module.", ".")
        if plain == rest or not self.config.saves(plain):
            return False
        return ".original_module." in rest or ADAPTER_PREFIX + plain in self.adapter.weights.tensors

    def check_whole(self, name: str, rest: str) -> None:
        """Refuse tensors of other kinds of adapters; what is left must have a name of the base."""
        part = next((part for part in rest.split(".") if part.startswith(_OTHER_KINDS)), None)
        if part is not None:
            raise AdapterRefused(
                f"{clean(part)} belongs to a kind of adapter that is not read",
                where=f"{self.adapter.path / ADAPTER_WEIGHTS}: tensor {clean(name)!r}",
                remedy=INSTEAD,
            )

    def factors(self, module: str, embedding: bool, halves: dict[str, TensorInfo]) -> Factors:
        magnitude = halves.pop("m", None)
        if len(halves) != 2:
            stray = next(iter(halves.values()), magnitude)
            raise self.fail(stray.name if stray else module, "its other factor is missing; a module has A and B")
        a, b = halves["A"], halves["B"]
        for half in (a, b):
            if len(half.shape) != 2:
                kind = "a convolution's update" if len(half.shape) in (3, 4, 5) else "no matrix"
                what = f"shape {half.shape}, {kind}; only updates of matrices are read"
                raise self.fail(half.name, what, INSTEAD)
        rank = self.config.rank(module)
        if a.shape[0] != b.shape[1]:
            raise self.fail(a.name, f"A has rank {a.shape[0]} and B has rank {b.shape[1]}")
        if a.shape[0] != rank:
            raise self.fail(a.name, f"rank {a.shape[0]}, the configuration gives this module {rank}")
        if not self.config.targets(module):
            what = "its module is not among target_modules, so peft would leave it out"
            raise self.fail(a.name, what, "name the module there, or remove the tensor")
        self.check_magnitude(magnitude, b, embedding)
        return Factors(module, a, b, self.config.scale(module), embedding, magnitude)

    def check_magnitude(self, magnitude: TensorInfo | None, b: TensorInfo, embedding: bool) -> None:
        """Refuse a magnitude without ``use_dora``, the reverse, one of another length, and that of an embedding."""
        if (magnitude is not None) != self.config.use_dora:
            what = "lacks its lora_magnitude_vector" if self.config.use_dora else "has a lora_magnitude_vector"
            raise self.fail((magnitude or b).name, f"its module {what}, and use_dora is {self.config.use_dora}")
        if magnitude is not None and embedding:
            where = f"{self.adapter.path / ADAPTER_WEIGHTS}: tensor {clean(magnitude.name)!r}"
            raise AdapterRefused("DoRA of an embedding is not read", where=where, remedy=INSTEAD)
        if magnitude is not None and magnitude.shape != b.shape[:1]:
            raise self.fail(magnitude.name, f"shape {magnitude.shape}, B has {b.shape[0]} rows")
