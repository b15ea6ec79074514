"""Llama, Mistral, Qwen2, and what differs from them in constants only: RMSNorm, rotary planes, gated MLP.

Grouped and multi-query attention, tied and untied heads, biases on q, k, v (Qwen2, ``attention_bias``), on o and on the
MLP (``mlp_bias``) are all in the table; RoPE scaling changes angles, not planes, so every variant of it is covered, and
layers without rotation (SmolLM3) allow what rotated ones do.
"""

from mergebarrier.arch.families.parts import attention, decoder, gated_mlp
from mergebarrier.arch.family import Family

_LAYER = "model.layers.{i}."

LLAMA = Family(
    name="llama",
    architectures=(
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Qwen2ForCausalLM",
        "Ministral3ForCausalLM",
        "GraniteForCausalLM",
        "SmolLM3ForCausalLM",
    ),
    model_types=("llama", "mistral", "qwen2", "ministral3", "granite", "smollm3"),
    **decoder(),
    tensors={
        "model.embed_tokens.weight": "_ d",
        f"{_LAYER}input_layernorm.weight": "d!",
        **attention(f"{_LAYER}self_attn."),
        f"{_LAYER}self_attn.rotary_emb.inv_freq": "=",
        f"{_LAYER}post_attention_layernorm.weight": "d!",
        **gated_mlp(f"{_LAYER}mlp."),
        "model.norm.weight": "d!",
        "lm_head.weight": "_ d",
    },
    refused={
        "clip_qkv": ((None,), "clipping q, k, v breaks the value/output maps"),
        "rope_parameters.partial_rotary_factor or partial_rotary_factor": (
            (None, 1.0),
            "this table rotates whole heads",
        ),
    },
)
