"""Model folders made byte by byte, sound ones and broken ones, without any library that would refuse to."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

NAMES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int64: "I64", torch.int32: "I32", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64",
}  # fmt: skip
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}


def payload(tensor: torch.Tensor) -> bytes:
    """Little-endian bytes of a tensor."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def pack(header: Any, data: bytes = b"", *, n: int | None = None) -> bytes:
    """A safetensors file with any header (JSON value, text or bytes) and any stated length."""
    if isinstance(header, str):
        header = header.encode()
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if n is None else n) + text + data


def entries(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, Any], bytes]:
    """Header entries and payload of tensors in the order given."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        piece = payload(tensor)
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(piece)],
        }
        data += piece
    return header, data


def safetensors_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """A sound file."""
    header, data = entries(tensors)
    return pack({"__metadata__": {"format": "pt"}, **header}, data)


def write_folder(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    *,
    shards: Sequence[Sequence[str]] | None = None,
    config: Any = CONFIG,
    side_files: Mapping[str, str] | None = None,
) -> Path:
    """A sound model folder; ``shards`` lists the tensors of each file, None for a single one."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config, indent=1))
    if shards is None:
        (path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    else:
        weight_map = {}
        for i, names in enumerate(shards, 1):
            file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
            (path / file).write_bytes(safetensors_bytes({name: tensors[name] for name in names}))
            weight_map |= dict.fromkeys(names, file)
        write_index(path, weight_map)
    for name, text in (side_files or {}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def write_index(path: Path, weight_map: Any, **more: Any) -> None:
    """An index, sound or not."""
    document = {"metadata": {"total_size": 1}, "weight_map": weight_map, **more}
    (path / "model.safetensors.index.json").write_text(json.dumps(document))


def small_tensors(seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    """Thirteen small tensors in the shape of a model: an embedding, two layers, a norm, a mask and a scalar."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (40, 8)}
    for layer in range(2):
        for name, shape in {"self_attn.q_proj": (8, 8), "self_attn.v_proj": (4, 8), "mlp.up_proj": (12, 8)}.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
        shapes[f"model.layers.{layer}.input_layernorm.weight"] = (8,)
    shapes["model.norm.weight"] = (8,)
    tensors = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    tensors["model.mask"] = torch.tensor([[True, False], [False, True]])
    tensors["model.empty"] = torch.empty(0, 3, dtype=dtype)
    tensors["model.scale"] = torch.tensor(1.5, dtype=torch.float32)
    return tensors


def thirds(tensors: Mapping[str, torch.Tensor]) -> list[list[str]]:
    """The names in three shards."""
    names = list(tensors)
    return [names[0:4], names[4:9], names[9:]]
