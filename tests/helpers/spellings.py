"""The ways in which one model is saved: prefixes, old names of norms, experts in one tensor, heads twice, buffers.

Every spelling is one that the stock class of the family loads without a word about missing tensors.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mergebarrier.arch import FAMILIES

Tensors = dict[str, Tensor]
_BODY = re.compile(r"^(model|transformer|bert|roberta|gpt_neox|distilbert|vit|backbone|model\.decoder)\.")
_EXPERT = re.compile(r"(.*)\.(?:block_sparse_moe|mlp)\.experts\.(\d+)\.(\w+)\.weight")
_WORDS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
_WORDS_OF_ROWS = "embed_tokens wte word_embeddings embed_in shared tok_embeddings backbone.embeddings"
_EMBEDDING = tuple(f"{words}.weight" for words in _WORDS_OF_ROWS.split())


def without_prefix(tensors: Tensors) -> Tensors:
    return {_BODY.sub("", name): tensor for name, tensor in tensors.items()}


def old_norms(tensors: Tensors) -> Tensors:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {re.sub(r"LayerNorm\.\w+$", lambda match: old[match[0]], name): one for name, one in tensors.items()}


def fused_experts(tensors: Tensors) -> Tensors:
    """The layout in memory of transformers 5, as ``save_original_format=False`` writes it."""
    found: Tensors = {}
    experts: dict[str, dict[tuple[int, str], Tensor]] = {}
    for name, tensor in tensors.items():
        match = _EXPERT.fullmatch(name)
        if match:
            table = experts.setdefault(f"{match[1]}.mlp.experts", {})
            table[int(match[2]), _WORDS.get(match[3], match[3])] = tensor
        else:
            found[name.replace("block_sparse_moe.gate", "mlp.gate")] = tensor
    for stem, table in experts.items():
        numbers = range(1 + max(number for number, _ in table))
        halves = [torch.cat([table[e, "gate_proj"], table[e, "up_proj"]]) for e in numbers]
        found[f"{stem}.gate_up_proj"] = torch.stack(halves)
        found[f"{stem}.down_proj"] = torch.stack([table[e, "down_proj"] for e in numbers])
    return found


def head_twice(name: str) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        embedding = next(one for one in tensors if one.endswith(_EMBEDDING))
        return {**tensors, name: tensors[embedding].clone()}

    return change


def head_alone(name: str) -> Callable[[Tensors], Tensors]:
    """The embedding of a tied model under the name of its head, in its place."""

    def change(tensors: Tensors) -> Tensors:
        embedding = next(one for one in tensors if one.endswith(_EMBEDDING))
        return {name if one == embedding else one: tensor for one, tensor in tensors.items()}

    return change


def with_buffer(name: str, buffer: Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: buffer}


def older_towers(tensors: Tensors) -> Tensors:
    older = re.compile(r"vision_tower\.(?!vision_model)")
    return {older.sub("vision_tower.vision_model.", name): tensor for name, tensor in tensors.items()}


def newer_parts(tensors: Tensors) -> Tensors:
    return {re.sub(r"^language_model\.model\.", "model.language_model.", name): tensors[name] for name in tensors}


_ROTARY = "rotary_emb.inv_freq", torch.linspace(1.0, 0.1, 6)
_HEAD = {
    **dict.fromkeys(("bert",), "cls.predictions.decoder.weight"),
    **dict.fromkeys(("gemma3_pictures", "mistral3"), "language_model.lm_head.weight"),
    **dict.fromkeys(("gpt2", "t5", "bloom", "opt", "bart", "qwen2", "gemma"), "lm_head.weight"),
}
_BUFFERS = {
    **{name: (f"model.layers.0.self_attn.{_ROTARY[0]}", _ROTARY[1]) for name in ("llama", "mixtral", "qwen2", "phi3")},
    "gpt_neox": (f"gpt_neox.layers.0.attention.{_ROTARY[0]}", _ROTARY[1]),
    "bert": ("bert.embeddings.position_ids", torch.arange(8)[None]),
    "roberta": ("roberta.embeddings.position_ids", torch.arange(8)[None]),
    "clip": ("text_model.embeddings.position_ids", torch.arange(8)[None]),
    "gpt2": ("transformer.h.0.attn.bias", torch.ones(1, 1, 16, 16)),
}
_NO_PREFIX = (
    *("llama", "mixtral", "qwen3_moe", "gpt_oss", "deepseek", "gpt_neox", "roberta", "bert", "whisper", "bloom", "opt"),
    *("mamba", "vit", "distilbert", "bart", "qwen2", "gemma", "phi3", "modernbert", "gpt2"),
)
#: (family, spelling) -> what changes the names of the family's stock spelling.
SPELLINGS: Mapping[tuple[str, str], Callable[[Tensors], Tensors]] = {
    **{(name, "prefix"): without_prefix for name in _NO_PREFIX},
    **{(name, "norms"): old_norms for name in ("bert", "roberta", "distilbert")},
    **{(name, "fused"): fused_experts for name in ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek")},
    **{(name, "head"): head_twice(head) for name, head in _HEAD.items()},
    **{(family.name, "alone"): head_alone(family.head) for family in FAMILIES.values() if family.tied},
    ("qwen2", "alone"): head_alone("lm_head.weight"),
    **{(name, "buffer"): with_buffer(*one) for name, one in _BUFFERS.items()},
    **{(name, "tower"): older_towers for name in ("llava", "gemma3_pictures")},
    **{(name, "parts"): newer_parts for name in ("llava", "gemma3_pictures", "mistral3")},
}


def respelled(source: Path, out: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """Copy a model folder under other names; without a manifest, which speaks of the old ones."""
    shutil.copytree(source, out)
    tensors = load_file(out / "model.safetensors")
    changed = change(tensors)
    assert changed.keys() != tensors.keys(), "the spelling changes nothing"
    stored = {name: tensor.contiguous().clone() for name, tensor in changed.items()}
    save_file(stored, out / "model.safetensors", {"format": "pt"})
    (out / "mergebarrier.json").unlink(missing_ok=True)
    return out
