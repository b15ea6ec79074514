"""Decoders with rotary heads that are no Llama: norms elsewhere, offset gains, fused or shared maps.

Qwen3, Gemma 3     gains on q and k, shared by the heads of a layer: only quarter turns, which the gains follow
OLMo 2             gains of full width: quarter turns per head group
Gemma              1 + w multiplies; Gemma 2 and 3 and GLM-4 have norms behind the block too
Phi-3, GLM-4       q|k|v and gate|up in one matrix;  StableLM, Phi, GLM-4 rotate a part of each head
Cohere, GLM-4      planes are entries (2i, 2i + 1);  Cohere and Phi read attention and MLP through one norm
"""

from mergebarrier.arch.families.parts import PARTIAL, attention, decoder, gated_mlp, norms, plain_mlp
from mergebarrier.arch.family import Family

_LAYER = "model.layers.{i}."
_ATTENTION = f"{_LAYER}self_attn."
_MLP = f"{_LAYER}mlp."
_ENDS = {"model.embed_tokens.weight": "_ d", **norms("model.norm"), "lm_head.weight": "_ d"}
_TWO_NORMS = norms(f"{_LAYER}input_layernorm", f"{_LAYER}post_attention_layernorm")
_AFTER_MLP = norms(f"{_LAYER}pre_feedforward_layernorm", f"{_LAYER}post_feedforward_layernorm")
_GAINS = {f"{_ATTENTION}q_norm.weight": "q!", f"{_ATTENTION}k_norm.weight": "q!"}
_FUSED_MLP = {f"{_MLP}gate_up_proj.weight": "(n | n^) d", f"{_MLP}down_proj.weight": "d n^'"}
_HALF = f"(head_dim or hidden_size / num_attention_heads) * ({PARTIAL})"
_QK_NORM = ((None, False), "a norm on q and k is not in this table")
_BEFORE_MLP = ("input_layernorm", "pre_feedforward_layernorm")

QWEN3 = Family(
    name="qwen3",
    architectures=("Qwen3ForCausalLM",),
    model_types=("qwen3",),
    **decoder(normed=True, scope=("i",)),
    tensors={**_ENDS, **_TWO_NORMS, **attention(_ATTENTION), **_GAINS, **gated_mlp(_MLP)},
)

GEMMA = Family(
    name="gemma",
    architectures=("GemmaForCausalLM",),
    model_types=("gemma",),
    **decoder(),
    tensors={**_ENDS, **_TWO_NORMS, **attention(_ATTENTION), **gated_mlp(_MLP)},
    offset=1.0,
    tied=True,
)

GEMMA2 = Family(
    name="gemma2",
    architectures=("Gemma2ForCausalLM",),
    model_types=("gemma2",),
    **decoder(norms=_BEFORE_MLP),
    tensors={**_ENDS, **_TWO_NORMS, **_AFTER_MLP, **attention(_ATTENTION), **gated_mlp(_MLP)},
    offset=1.0,
    tied=True,
)

GEMMA3 = Family(
    name="gemma3",
    architectures=("Gemma3ForCausalLM",),
    model_types=("gemma3_text",),
    **decoder(norms=_BEFORE_MLP, normed=True, scope=("i",)),
    tensors={**_ENDS, **_TWO_NORMS, **_AFTER_MLP, **attention(_ATTENTION), **_GAINS, **gated_mlp(_MLP)},
    offset=1.0,
    tied=True,
)

PHI3 = Family(
    name="phi3",
    architectures=("Phi3ForCausalLM",),
    model_types=("phi3",),
    **decoder(rotary=_HALF, attention_readers=("self_attn.qkv_proj",), readers=("mlp.gate_up_proj",)),
    tensors={
        **_ENDS,
        **_TWO_NORMS,
        f"{_ATTENTION}qkv_proj.weight": "(g r q | g q' | g w) d",
        f"{_ATTENTION}o_proj.weight": "d (g r w')",
        **_FUSED_MLP,
    },
)

OLMO = Family(
    name="olmo",
    architectures=("OlmoForCausalLM",),
    model_types=("olmo",),
    **decoder("centred", norms=("", "")),
    tensors={"model.embed_tokens.weight": "_ d", "lm_head.weight": "_ d", **attention(_ATTENTION), **gated_mlp(_MLP)},
    refused={"clip_qkv": ((None,), "clipping q, k, v breaks the value/output maps")},
)

OLMO2 = Family(
    name="olmo2",
    architectures=("Olmo2ForCausalLM", "Olmo3ForCausalLM"),
    model_types=("olmo2", "olmo3"),
    **decoder(norms=("", ""), normed=True),
    tensors={
        **_ENDS,
        **norms(f"{_LAYER}post_attention_layernorm", f"{_LAYER}post_feedforward_layernorm"),
        **attention(_ATTENTION),
        f"{_ATTENTION}q_norm.weight": "(g r q!)",
        f"{_ATTENTION}k_norm.weight": "(g q!)",
        **gated_mlp(_MLP),
    },
)

STABLELM = Family(
    name="stablelm",
    architectures=("StableLmForCausalLM",),
    model_types=("stablelm",),
    **decoder("centred", rotary=_HALF.replace("or 1)", "or 0.25)")),
    tensors={**_ENDS, **_TWO_NORMS, **attention(_ATTENTION), **gated_mlp(_MLP)},
    refused={
        "qk_layernorm": _QK_NORM,
        "use_parallel_residual": ((None, False), "parallel blocks read another norm than this table says"),
    },
)

COHERE = Family(
    name="cohere",
    architectures=("CohereForCausalLM", "Cohere2ForCausalLM"),
    model_types=("cohere", "cohere2"),
    **decoder("centred", norms=("input_layernorm", "input_layernorm"), pairs=True),
    tensors={**_ENDS, **norms(f"{_LAYER}input_layernorm"), **attention(_ATTENTION), **gated_mlp(_MLP)},
    tied=True,
    refused={"use_qk_norm": _QK_NORM},
)

GLM4 = Family(
    name="glm4",
    architectures=("Glm4ForCausalLM",),
    model_types=("glm4",),
    **decoder(pairs=True, rotary=_HALF.replace("or 1)", "or 0.5)"), readers=("mlp.gate_up_proj",)),
    tensors={
        **_ENDS,
        **_TWO_NORMS,
        **norms(f"{_LAYER}post_self_attn_layernorm", f"{_LAYER}post_mlp_layernorm"),
        **attention(_ATTENTION),
        **_FUSED_MLP,
    },
)

PHI = Family(
    name="phi",
    architectures=("PhiForCausalLM",),
    model_types=("phi",),
    **decoder(
        "centred",
        "order",
        norms=("input_layernorm", "input_layernorm"),
        readers=("mlp.fc1",),
        rotary=_HALF.replace("or 1)", "or 0.5)"),
    ),
    tensors={
        "model.embed_tokens.weight": "_ d",
        **norms("model.final_layernorm", f"{_LAYER}input_layernorm"),
        **attention(_ATTENTION, ("q_proj", "k_proj", "v_proj", "dense")),
        **plain_mlp(_MLP),
        "lm_head.weight": "_ d",
        "lm_head.bias": "_ ?",
    },
    refused={"qk_layernorm": _QK_NORM},
)
