"""Llama, Mistral and Qwen2: RMSNorm before each block, rotary planes (i, i + head_dim/2), gated MLP.

Grouped and multi-query attention, tied and untied heads, biases on q, k, v (Qwen2, ``attention_bias``), on o and on the
MLP (``mlp_bias``) are all in the table; RoPE scaling changes angles, not planes, so every variant of it is covered.
"""

from mergebarrier.arch.families.table import Family, Rule, Size

_ATTENTION = "layers.{i}.attn"
_MLP = "layers.{i}.mlp"

LLAMA = Family(
    name="llama",
    architectures=("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"),
    model_types=("llama", "mistral", "qwen2"),
    sizes={
        "hidden": Size("hidden_size"),
        "mlp_width": Size("intermediate_size"),
        "vocab": Size("vocab_size"),
        "n_layers": Size("num_hidden_layers"),
        "n_heads": Size("num_attention_heads"),
        "n_kv_heads": Size("num_key_value_heads", lambda s: s["n_heads"]),
        "head_dim": Size("head_dim", lambda s: s["hidden"] // s["n_heads"]),
    },
    rotary=True,
    gated=True,
    centred=False,
    prefixes=("",),
    rules=(
        Rule("model.embed_tokens.weight", "embed", ("embed.weight",)),
        Rule("model.layers.{i}.input_layernorm.weight", _ATTENTION, ("norm.weight",)),
        Rule("model.layers.{i}.self_attn.q_proj.weight", _ATTENTION, ("q.weight",)),
        Rule("model.layers.{i}.self_attn.q_proj.bias", _ATTENTION, ("q.bias",), optional=True),
        Rule("model.layers.{i}.self_attn.k_proj.weight", _ATTENTION, ("k.weight",)),
        Rule("model.layers.{i}.self_attn.k_proj.bias", _ATTENTION, ("k.bias",), optional=True),
        Rule("model.layers.{i}.self_attn.v_proj.weight", _ATTENTION, ("v.weight",)),
        Rule("model.layers.{i}.self_attn.v_proj.bias", _ATTENTION, ("v.bias",), optional=True),
        Rule("model.layers.{i}.self_attn.o_proj.weight", _ATTENTION, ("o.weight",)),
        Rule("model.layers.{i}.self_attn.o_proj.bias", _ATTENTION, ("o.bias",), optional=True),
        Rule("model.layers.{i}.post_attention_layernorm.weight", _MLP, ("norm.weight",)),
        Rule("model.layers.{i}.mlp.gate_proj.weight", _MLP, ("gate.weight",)),
        Rule("model.layers.{i}.mlp.gate_proj.bias", _MLP, ("gate.bias",), optional=True),
        Rule("model.layers.{i}.mlp.up_proj.weight", _MLP, ("up.weight",)),
        Rule("model.layers.{i}.mlp.up_proj.bias", _MLP, ("up.bias",), optional=True),
        Rule("model.layers.{i}.mlp.down_proj.weight", _MLP, ("down.weight",)),
        Rule("model.layers.{i}.mlp.down_proj.bias", _MLP, ("down.bias",), optional=True),
        Rule("model.norm.weight", "norm", ("norm.weight",)),
        Rule("lm_head.weight", "head", ("head.weight",), optional=True),
    ),
    verbatim=("model.layers.{i}.self_attn.rotary_emb.inv_freq",),
    refused={
        "clip_qkv": ((None,), "clipping q, k, v breaks the value/output maps"),
        "partial_rotary_factor": ((None, 1.0), "this table rotates whole heads"),
    },
)
