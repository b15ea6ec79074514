"""A tensor in a file: its dtype, its shape and place, and the values that it may hold.

A grammar must know every legal dtype to check sizes; the algorithms handle floats, integers and masks travel verbatim,
and anything that only quantised checkpoints use is refused by name.  Positions are absolute in the shard's file, so a
reader needs no header.  Values are checked when they are read, when they are written, and inside the pass that hashes
a file, so that a model with one bad value is refused before anything is written.

Its digest is a chain, which takes bytes in order (keys derive from it), or a tree, which takes them as they come, so
that a merge hashes what it reads and writes in passing, on all threads, rows of fused experts too.

    nbytes = end - begin = prod(shape) * bits / 8
    finite  <=  their sum is;   finite  <=>  min and max are      (in the stored dtype; NaN propagates, Inf shows)
    chain = SHA-256(name 0x00 dtype 0x00 shape-as-"a,b,c" 0x00 payload)
    tree  = BLAKE3(name 0x00 dtype 0x00 shape 0x00 leaf digests),  leaf digest = BLAKE3(2^18 bytes of the payload)

Source: safetensors 0.8.0, ``Dtype``; IEEE 754; FIPS 180-4; BLAKE3 (O'Connor et al. 2020).  Differs: sub-byte and
8-bit floats and complex numbers are known and refused.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, Literal, cast

from blake3 import blake3

from mergebarrier.errors import BadDtype, NonFinite
from mergebarrier.lazy import OnDemand, np, torch

BITS: dict[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip
_IN_TORCH = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16", "BF16": "bfloat16",
    "U32": "uint32", "I32": "int32", "F32": "float32", "U64": "uint64", "I64": "int64", "F64": "float64",
}  # fmt: skip


class _Dtypes(OnDemand["torch.dtype"]):
    def __getitem__(self, name: str) -> torch.dtype:
        return cast("torch.dtype", getattr(torch, _IN_TORCH[name]))


TORCH: Final = _Dtypes(_IN_TORCH)
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
#: The floats as torch, configurations and people spell them -> their name in a file.
FLOAT_NAMES: dict[str, str] = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}
#: Largest relative error of one rounding to nearest.
ROUNDOFF: dict[str, float] = {"F64": 2.0**-53, "F32": 2.0**-24, "BF16": 2.0**-8, "F16": 2.0**-11}
CLEAN_WEIGHTS = "download the model again, or ask its author for clean weights"


def stored_dtype(dtype: torch.dtype) -> str:
    """Return the name in a file of what torch holds."""
    return next(name for name, known in TORCH.items() if known == dtype)


#: What a tensor is beside a weight: made anew by every loader, a count of steps, or a running mean or variance.
Role = Literal["weight", "buffer", "counter", "statistic"]
_ROLES: dict[str, Role] = {
    "inv_freq": "buffer", "original_inv_freq": "buffer", "position_ids": "buffer", "token_type_ids": "buffer",
    "masked_bias": "buffer", "relative_position_index": "buffer", "num_batches_tracked": "counter",
    "running_mean": "statistic", "running_var": "statistic",
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """A tensor in a shard; ``begin`` and ``end`` are absolute byte positions in the shard's file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: str
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes of the payload."""
        return self.end - self.begin

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Length of the first dimension; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def role(self) -> Role:
        """What the tensor is, by its name; a bias of attention with four dimensions is a causal mask."""
        *_, stem, last = ["", *self.name.split(".")]
        if last == "bias" and stem in ("attn", "attention", "self_attention") and len(self.shape) == 4:
            return "buffer"
        return _ROLES.get(last, "weight")

    @property
    def row_nbytes(self) -> int:
        """Bytes of one index of the first dimension."""
        return math.prod(self.shape[1:]) * (BITS[self.dtype] // 8)


@dataclass(frozen=True)
class Shard:
    """One safetensors file; tensors in offset order, metadata as a stranger wrote it."""

    name: str
    size_bytes: int
    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OutTensor:
    """A tensor to be written; a layout lists them shard by shard in offset order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: str

    @property
    def nbytes(self) -> int:
        """Bytes of the payload."""
        return math.prod(self.shape) * (BITS[self.dtype] // 8)


def check_finite(tensor: torch.Tensor, dtype: str, *, where: object, remedy: str) -> None:
    """Raise NonFinite when a float tensor holds NaN or Inf; other dtypes and empty tensors pass."""
    if dtype not in FLOATS or not tensor.numel():
        return
    if not _finite(tensor):
        count = int((~torch.isfinite(tensor)).sum())
        raise NonFinite(f"{count} of {tensor.numel()} values are NaN or Inf", where=where, remedy=remedy)


def check_bool(raw: torch.Tensor, *, where: object) -> None:
    """Raise BadDtype when a BOOL payload (uint8) holds anything but 0 and 1."""
    if raw.numel() and int(raw.max()) > 1:
        raise BadDtype(
            f"a BOOL byte is {int(raw.max())}, only 0 and 1 are legal",
            where=where,
            remedy="save the model again with the safetensors library",
        )


def check_payload(raw: torch.Tensor, dtype: str, *, where: object) -> None:
    """Check a piece of a payload (uint8, whole elements); raises NonFinite or BadDtype."""
    if dtype == "BOOL":
        check_bool(raw, where=where)
    elif dtype in FLOATS and not _finite(raw.view(TORCH[dtype])):
        raise NonFinite("holds NaN or Inf", where=where, remedy=CLEAN_WEIGHTS)


def _finite(tensor: torch.Tensor) -> bool:
    # A finite sum proves that every term is finite, and is cheaper; in half precision sums overflow too easily.
    if tensor.dtype != torch.float16 and math.isfinite(tensor.sum().item()):
        return True
    low, high = torch.aminmax(tensor)
    return math.isfinite(low.item()) and math.isfinite(high.item())


#: Names of hashes, as manifests hold them.
SHA256: Final = "sha256"
BLAKE3: Final = "blake3"
_LEAF_BYTES = 1 << 18


def _head(info: TensorInfo) -> bytes:
    return b"\0".join((info.name.encode(), info.dtype.encode(), ",".join(map(str, info.shape)).encode(), b""))


class Chain:
    """SHA-256 of a tensor, which takes its bytes in order alone."""

    def __init__(self, info: TensorInfo) -> None:
        """Begin with name, dtype and shape."""
        self._chain, self._left, self._reached = hashlib.sha256(_head(info)), info.nbytes, 0

    def add(self, begin: int, view: memoryview) -> None:
        """Take bytes of the payload from ``begin`` on."""
        if begin == self._reached:
            self._chain.update(view)
            self._reached, self._left = begin + len(view), self._left - len(view)

    def hexdigest(self) -> str | None:
        """Return the digest; None unless the whole payload came, in order."""
        return None if self._left else self._chain.hexdigest()


class Tree:
    """BLAKE3 of a tensor in leaves, which come in any order, in pieces, from any thread, and more than once."""

    def __init__(self, info: TensorInfo) -> None:
        """Begin with name, dtype and shape."""
        self._head, self._nbytes, self._lock = _head(info), info.nbytes, Lock()
        self._leaves: dict[int, bytes] = {}
        self._parts: dict[int, dict[int, bytes]] = {}

    def add(self, begin: int, view: memoryview) -> None:
        """Take bytes of the payload from ``begin`` on."""
        stop = begin + len(view)
        for leaf in range(begin // _LEAF_BYTES, -(-stop // _LEAF_BYTES)):
            first, last = leaf * _LEAF_BYTES, min((leaf + 1) * _LEAF_BYTES, self._nbytes)
            if leaf not in self._leaves:
                piece: bytes | memoryview = view[max(first, begin) - begin : min(last, stop) - begin]
                if len(piece) < last - first:
                    piece = self._joined(leaf, max(first, begin) - first, bytes(piece))
                if len(piece) == last - first:
                    self._leaves[leaf] = blake3(piece).digest()

    def _joined(self, leaf: int, start: int, part: bytes) -> bytes:
        """Keep a part of a leaf; return the leaf as far as it is known from its first byte on."""
        with self._lock:
            parts = self._parts.setdefault(leaf, {})
            parts[start] = max(parts.get(start, b""), part, key=len)
            whole = bytearray()
            for place in sorted(parts):
                if place > len(whole):
                    break
                whole[place : place + len(parts[place])] = parts[place]
            if len(whole) == min(_LEAF_BYTES, self._nbytes - leaf * _LEAF_BYTES):
                del self._parts[leaf]
            return bytes(whole)

    def hexdigest(self) -> str | None:
        """Return the digest; None unless the whole payload came."""
        count = -(-self._nbytes // _LEAF_BYTES)
        if len(self._leaves) < count:
            return None
        return blake3(self._head + b"".join(self._leaves[leaf] for leaf in range(count))).hexdigest()

    def taken(self) -> Iterator[tuple[int, int, bytes]]:
        """Return what came so far, piece by piece: begin, end, BLAKE3."""
        for leaf, digest in self._leaves.items():
            yield leaf * _LEAF_BYTES, min((leaf + 1) * _LEAF_BYTES, self._nbytes), digest
        for leaf, parts in self._parts.items():
            for begin, part in ((leaf * _LEAF_BYTES + start, part) for start, part in parts.items()):
                yield begin, begin + len(part), blake3(part).digest()


HASHES: Final[Mapping[str, type[Chain] | type[Tree]]] = {SHA256: Chain, BLAKE3: Tree}
_WORTH_BYTES = 1 << 22


class Memory:
    """Hands out buffers, from any thread, and keeps a few of those that come back.

    The system clears what it hands out, so new buffers cost time.  One, in large pages where there are such, comes back
    when the last tensor that views it is gone.  Source: madvise(2); differs from ``torch.empty`` in speed alone.
    """

    def __init__(self, kept: int = 0) -> None:
        """Begin with none, and keep at most ``kept``."""
        self._free: list[mmap.mmap] = []
        self._kept = kept

    def take(self, nbytes: int) -> torch.Tensor:
        """Return ``nbytes`` bytes of any values, UInt8[Tensor, "nbytes"]."""
        if nbytes < _WORTH_BYTES or not hasattr(mmap, "MADV_HUGEPAGE"):
            return torch.empty(nbytes, dtype=torch.uint8)
        region = self._fitting(nbytes)
        lease = np.frombuffer(region, np.uint8, nbytes)
        weakref.finalize(lease, self._give_back, region).atexit = False
        return torch.from_numpy(lease)

    def close(self) -> None:
        """Keep nothing from now on."""
        self._kept = 0
        self._free.clear()

    def _fitting(self, nbytes: int) -> mmap.mmap:
        # No lock: a buffer can come back wherever the interpreter collects garbage, also in the middle of this.
        for region in sorted(self._free, key=len):
            if len(region) >= nbytes:
                with suppress(ValueError):  # another thread took it
                    self._free.remove(region)
                    return region
        with suppress(IndexError):
            self._free.pop()  # too small, as all others: the new one takes its place
        region = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        region.madvise(mmap.MADV_HUGEPAGE)
        return region

    def _give_back(self, region: mmap.mmap) -> None:
        if len(self._free) < self._kept:
            self._free.append(region)
