"""Where every byte of an output will stand, known before a number is computed.

The layout fixes the headers, hence all offsets; ranges of different tensors are disjoint, so workers share nothing.
The header is byte for byte what the safetensors library writes for the same order.

    file = u64le(n) | compact JSON, padded with blanks to a multiple of 8 (n bytes) | payloads back to back

Source: safetensors 0.8.0 ``serialize``.  Differs: offset order and shard boundaries are those of the input.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mergebarrier import __version__
from mergebarrier.checkpoint.adapter import ADAPTER_WEIGHTS
from mergebarrier.checkpoint.bytes import TORCH, OutTensor, Shard, TensorInfo
from mergebarrier.checkpoint.files import canonical_json
from mergebarrier.checkpoint.read import INDEX, SHARD_NAME, SINGLE, Checkpoint
from mergebarrier.errors import InternalError


def layout_like(checkpoint: Checkpoint) -> tuple[OutTensor, ...]:
    """Return the layout of an input: same names, dtypes, shapes, shards and offset order."""
    return tuple(OutTensor(t.name, t.dtype, t.shape, t.shard) for t in checkpoint.tensors.values())


def plan_shards(layout: Sequence[OutTensor]) -> tuple[tuple[Shard, bytes], ...]:
    """Lay out every shard.

    Args:
      layout: tensors, those of one shard in offset order.
    Returns: (shard with absolute byte ranges, the bytes before its payload) per shard, in the order of first use.
    Raises:  InternalError for a repeated tensor, an unknown dtype or a name that is no shard's.
    """
    members: dict[str, list[OutTensor]] = {}
    seen: dict[str, None] = {}
    for tensor in layout:
        if tensor.name in seen or tensor.dtype not in TORCH or not SHARD_NAME.fullmatch(tensor.shard):
            raise InternalError("a layout repeats a tensor, or its dtype or shard name is unknown", where=tensor.name)
        seen[tensor.name] = None
        members.setdefault(tensor.shard, []).append(tensor)
    if not members or (SINGLE in members and len(members) > 1):
        raise InternalError(f"a layout has tensors, and {SINGLE} stands alone")
    return tuple(_plan_shard(name, tensors) for name, tensors in members.items())


def _plan_shard(name: str, tensors: Sequence[OutTensor]) -> tuple[Shard, bytes]:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for tensor in tensors:
        end = position + tensor.nbytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start, infos = 8 + len(text), []
    for tensor in tensors:
        infos.append(TensorInfo(tensor.name, tensor.dtype, tensor.shape, name, start, start + tensor.nbytes))
        start += tensor.nbytes
    return Shard(name, start, tuple(infos)), len(text).to_bytes(8, "little") + text


def plan_document(plan: Mapping[str, Any], layout: Sequence[OutTensor]) -> bytes:
    """Return the bytes of plan.json: two runs may share a partial output only if these agree."""
    tensors = [[t.name, t.dtype, list(t.shape), t.shard] for t in layout]
    return canonical_json({"layout": tensors, "plan": dict(plan), "version": __version__})


def plan_digest(document: bytes) -> str:
    """Hex SHA-256 of a plan document."""
    return hashlib.sha256(document).hexdigest()


def index_files(layout: Sequence[OutTensor]) -> dict[str, bytes]:
    """Return {name: bytes} of the shard index; empty for a model in one file."""
    if all(tensor.shard in (SINGLE, ADAPTER_WEIGHTS) for tensor in layout):
        return {}
    document = {
        "metadata": {
            "total_parameters": sum(_numel(tensor) for tensor in layout),
            "total_size": sum(tensor.nbytes for tensor in layout),
        },
        "weight_map": {tensor.name: tensor.shard for tensor in layout},
    }
    return {INDEX: json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"}


def _numel(tensor: OutTensor) -> int:
    return tensor.nbytes // (TORCH[tensor.dtype].itemsize)
