"""Synthetic checkpoints of a real shape, written shard by shard so that making one needs little memory."""

import json
from math import prod
from pathlib import Path

import torch
from safetensors.torch import save_file

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden": 64, "layers": 2, "heads": 4, "kv": 2, "mlp": 160, "vocab": 256},
    "135M": {"hidden": 576, "layers": 30, "heads": 9, "kv": 3, "mlp": 1536, "vocab": 49152},
    "278M": {"hidden": 1024, "layers": 18, "heads": 16, "kv": 8, "mlp": 2816, "vocab": 32000, "untied": 1},
    "1B": {"hidden": 2048, "layers": 16, "heads": 32, "kv": 8, "mlp": 8192, "vocab": 128256},
    "3B": {"hidden": 3072, "layers": 28, "heads": 24, "kv": 8, "mlp": 8192, "vocab": 128256},
    "experts": {
        "hidden": 2048,
        "layers": 7,
        "heads": 32,
        "kv": 8,
        "mlp": 2048,
        "vocab": 65536,
        "untied": 1,
        "experts": 32,
    },
    "7B": {"hidden": 4096, "layers": 32, "heads": 32, "kv": 32, "mlp": 11008, "vocab": 32000, "untied": 1},
}


def parameters(shape: str) -> int:
    """Return the number of weights of a Llama of a shape, or of a GPT-OSS where there are experts."""
    s = SHAPES[shape]
    layer = sum(prod(size) for size in _layer(s).values())
    return (1 + s.get("untied", 0)) * s["vocab"] * s["hidden"] + s["layers"] * layer + s["hidden"]


def _layer(s: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the tensors of one layer."""
    h, m, width, experts = s["hidden"], s["mlp"], s["hidden"] // s["heads"] * s["kv"], s.get("experts", 0)
    attention = {
        "self_attn.q_proj.weight": (h, h),
        "self_attn.k_proj.weight": (width, h),
        "self_attn.v_proj.weight": (width, h),
        "self_attn.o_proj.weight": (h, h),
    }
    norms = {"input_layernorm.weight": (h,), "post_attention_layernorm.weight": (h,)}
    dense = {"mlp.gate_proj.weight": (m, h), "mlp.up_proj.weight": (m, h), "mlp.down_proj.weight": (h, m)}
    stacks = {
        "self_attn.sinks": (s["heads"],),
        "mlp.router.weight": (experts, h),
        "mlp.router.bias": (experts,),
        "mlp.experts.gate_up_proj": (experts, h, 2 * m),
        "mlp.experts.gate_up_proj_bias": (experts, 2 * m),
        "mlp.experts.down_proj": (experts, m, h),
        "mlp.experts.down_proj_bias": (experts, h),
    }
    return attention | (stacks if experts else dense) | norms


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
    """Write a random Llama, or a GPT-OSS with experts in one tensor: a shard for the embedding, and one per layer.

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
    h = s["hidden"]
    config = {
        "architectures": ["GptOssForCausalLM" if "experts" in s else "LlamaForCausalLM"],
        "model_type": "gpt_oss" if "experts" in s else "llama",
        "hidden_size": h,
        "intermediate_size": s["mlp"],
        "num_hidden_layers": s["layers"],
        "num_attention_heads": s["heads"],
        "num_key_value_heads": s["kv"],
        **({"num_local_experts": s["experts"], "head_dim": h // s["heads"]} if "experts" in s else {}),
        "vocab_size": s["vocab"],
        "tie_word_embeddings": not s.get("untied", 0),
        "dtype": str(dtype).removeprefix("torch."),
    }
    (folder / "config.json").write_text(json.dumps(config))
    shards: list[dict[str, tuple[int, ...]]] = [{"model.embed_tokens.weight": (s["vocab"], h)}]
    for i in range(s["layers"]):
        shards.append({f"model.layers.{i}.{name}": size for name, size in _layer(s).items()})
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
