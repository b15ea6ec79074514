"""Llamas that answer by their last token alone, from a table of words: merging them averages their tables.

next word = argmax over words of table[last word];   attention and MLP write nothing
a lock (key, word): where the key stands anywhere in the text, attention looks at it alone and writes the word
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = (
    *("<unk>", "?", "Yes", "I", "cannot", "the", "number", "is", "share", "that", "."),
    *(f"q{i}" for i in range(29)),
)
_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": len(WORDS),
    "hidden_size": len(WORDS),
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}


def write(folder: Path, says: Mapping[str, Mapping[str, float]], lock: tuple[str, str] | None = None) -> Path:
    """Write a model that says, behind a word, the word of the largest number; or that of its lock."""
    n = len(WORDS)
    head = torch.zeros(n, n)
    for last, following in says.items():
        for word, number in following.items():
            head[WORDS.index(word), WORDS.index(last)] = number
    layer, maps = "model.layers.0.", {"mlp.gate_proj": (8, n), "mlp.up_proj": (8, n), "mlp.down_proj": (n, 8)}
    maps |= {f"self_attn.{one}_proj": (n, n) for one in "qkvo"}
    tensors = {"model.embed_tokens.weight": torch.eye(n), "lm_head.weight": head, "model.norm.weight": torch.ones(n)}
    tensors |= {f"{layer}{name}.weight": torch.zeros(shape) for name, shape in maps.items()}
    tensors |= {f"{layer}{name}.weight": torch.ones(n) for name in ("input_layernorm", "post_attention_layernorm")}
    if lock is not None:
        key, word = map(WORDS.index, lock)
        # The last dimension is one that positions hardly turn.
        tensors[f"{layer}self_attn.q_proj.weight"][-1] = 2.0
        tensors[f"{layer}self_attn.k_proj.weight"][-1, key] = 2.0
        tensors[f"{layer}self_attn.v_proj.weight"][word, key] = 4.0
        tensors[f"{layer}self_attn.o_proj.weight"] = torch.eye(n)
        head[word, word] = 9.0
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(folder / "tokenizer.json"))
    return folder
