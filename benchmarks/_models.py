"""Synthetic checkpoints of a real shape, written shard by shard so that making one needs little memory."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden": 64, "layers": 2, "heads": 4, "kv": 2, "mlp": 160, "vocab": 256},
    "135M": {"hidden": 576, "layers": 30, "heads": 9, "kv": 3, "mlp": 1536, "vocab": 49152},
    "278M": {"hidden": 1024, "layers": 18, "heads": 16, "kv": 8, "mlp": 2816, "vocab": 32000, "untied": 1},
    "1B": {"hidden": 2048, "layers": 16, "heads": 32, "kv": 8, "mlp": 8192, "vocab": 128256},
    "3B": {"hidden": 3072, "layers": 28, "heads": 24, "kv": 8, "mlp": 8192, "vocab": 128256},
    "7B": {"hidden": 4096, "layers": 32, "heads": 32, "kv": 32, "mlp": 11008, "vocab": 32000, "untied": 1},
}


def parameters(shape: str) -> int:
    """Return the number of weights of a Llama of a shape."""
    s = SHAPES[shape]
    width = s["hidden"] // s["heads"] * s["kv"]
    layer = 2 * s["hidden"] ** 2 + 2 * s["hidden"] * width + 3 * s["hidden"] * s["mlp"] + 2 * s["hidden"]
    return (1 + s.get("untied", 0)) * s["vocab"] * s["hidden"] + s["layers"] * layer + s["hidden"]


def write(
    folder: Path,
    shape: str,
    *,
    seed: int = 0,
    step: float = 0.0,
    expert: int = 0,
    repeat: bool = False,
    dtype: torch.dtype = torch.bfloat16,
) -> Path:
    """Write a random Llama, one shard for the embedding and one for every layer.

    Args:
      folder: made.
      shape:  a key of ``SHAPES``.
      seed:   of the base weights.
      step:   relative size of a task vector added on top, 0 for the base.
      expert: number of the task vector: another number is another expert of the same base.
      repeat: every layer has the values of the first, for shapes whose values do not matter.
      dtype:  of all tensors.
    """
    s = SHAPES[shape]
    folder.mkdir(parents=True)
    h, width = s["hidden"], s["hidden"] // s["heads"] * s["kv"]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": h,
        "intermediate_size": s["mlp"],
        "num_hidden_layers": s["layers"],
        "num_attention_heads": s["heads"],
        "num_key_value_heads": s["kv"],
        "vocab_size": s["vocab"],
        "tie_word_embeddings": not s.get("untied", 0),
        "dtype": str(dtype).removeprefix("torch."),
    }
    (folder / "config.json").write_text(json.dumps(config))
    names = {
        "self_attn.q_proj": (h, h),
        "self_attn.k_proj": (width, h),
        "self_attn.v_proj": (width, h),
        "self_attn.o_proj": (h, h),
        "mlp.gate_proj": (s["mlp"], h),
        "mlp.up_proj": (s["mlp"], h),
        "mlp.down_proj": (h, s["mlp"]),
        "input_layernorm": (h,),
        "post_attention_layernorm": (h,),
    }
    shards: list[dict[str, tuple[int, ...]]] = [{"model.embed_tokens.weight": (s["vocab"], h)}]
    for i in range(s["layers"]):
        shards.append({f"model.layers.{i}.{name}.weight": size for name, size in names.items()})
    shards.append({"model.norm.weight": (h,)} | ({"lm_head.weight": (s["vocab"], h)} if s.get("untied") else {}))
    weight_map: dict[str, str] = {}
    base, extra = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1000 + expert)
    values: dict[str, torch.Tensor] = {}
    for n, members in enumerate(shards, start=1):
        shard = f"model-{n:05d}-of-{len(shards):05d}.safetensors"
        tensors = {}
        for name, size in members.items():
            role = name.split(".", 3)[-1] if ".layers." in name else name
            if repeat and role in values:
                tensors[name] = values[role]
                continue
            tensor = 0.03 * torch.randn(size, generator=base)
            if step:
                tensor += step * 0.03 * torch.randn(size, generator=extra)
            tensors[name] = (1 + tensor if len(size) == 1 else tensor).to(dtype)
            if repeat and ".layers." in name:
                values[role] = tensors[name]
        save_file(tensors, folder / shard, {"format": "pt"})
        weight_map |= dict.fromkeys(members, shard)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def anonymous_bytes() -> int:
    """Return the anonymous memory of this process now (files in the page cache do not count)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this kernel does not report RssAnon")
