"""Llama, Mistral and Qwen2: RMSNorm before each block, rotary planes (i, i + head_dim/2), gated MLP.

Grouped and multi-query attention, tied and untied heads, biases on q, k, v (Qwen2, ``attention_bias``), on o and on the
MLP (``mlp_bias``) are all in the table; RoPE scaling changes angles, not planes, so every variant of it is covered.
"""

from mergebarrier.arch.families.parts import attention, gated_mlp, rotary_decoder
from mergebarrier.arch.family import Family

_LAYER = "model.layers.{i}."

LLAMA = Family(
    name="llama",
    architectures=("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"),
    model_types=("llama", "mistral", "qwen2"),
    **rotary_decoder(),
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
    tied=False,
    refused={
        "clip_qkv": ((None,), "clipping q, k, v breaks the value/output maps"),
        "rope_parameters.partial_rotary_factor or partial_rotary_factor": (
            (None, 1.0),
            "this table rotates whole heads",
        ),
    },
)
