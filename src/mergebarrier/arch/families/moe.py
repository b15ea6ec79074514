"""Sparse decoders: experts of a layer have no order, and each has neurons of its own.

    Mixtral, Qwen2-MoE, Qwen3-MoE     a file per expert and matrix: names move with the router's rows
    GPT-OSS                           three-dimensional tensors, gate and up interleaved; a clamp forbids scales
    DeepSeek-V2, V3                   latent attention (MLA); routed in groups, so experts stay where they are

MLA: latents behind a norm have order and signs; the rotary part of a key is shared by all heads.
"""

from typing import Any

from mergebarrier.arch.axes import Axis
from mergebarrier.arch.families.parts import DIMS, attention, decoder, experts, gated_mlp, heads, neurons, norms, stream
from mergebarrier.arch.family import Family

_LAYER = "model.layers.{i}."
_ATTENTION = f"{_LAYER}self_attn."
_MLP = f"{_LAYER}mlp."
_EXPERT = "layers.{i}.experts.{e}"
_ENDS = {"model.embed_tokens.weight": "_ d", **norms("model.norm"), "lm_head.weight": "_ d"}
_TWO_NORMS = norms(f"{_LAYER}input_layernorm", f"{_LAYER}post_attention_layernorm")
_READERS = ("mlp.gate_proj", "mlp.up_proj", "mlp.gate", "mlp.experts.{e}.gate_proj", "mlp.experts.{e}.up_proj")


def _sparse(table: dict[str, Any], **axes: Axis) -> dict[str, Any]:
    return {**table, "axes": {**table["axes"], **axes}}


MIXTRAL = Family(
    name="mixtral",
    architectures=("MixtralForCausalLM",),
    model_types=("mixtral",),
    **_sparse(
        decoder(readers=tuple(f"block_sparse_moe.{name}" for name in ("gate", "experts.{e}.w1", "experts.{e}.w3"))),
        e=experts("num_local_experts"),
        n=neurons(label=_EXPERT, partial=True),
    ),
    tensors={
        **_ENDS,
        **_TWO_NORMS,
        **attention(_ATTENTION),
        f"{_LAYER}block_sparse_moe.gate.weight": "e d",
        **gated_mlp(f"{_LAYER}block_sparse_moe.experts.{{e}}.", ("w1", "w3", "w2")),
    },
)

QWEN2_MOE = Family(
    name="qwen2_moe",
    architectures=("Qwen2MoeForCausalLM",),
    model_types=("qwen2_moe",),
    **_sparse(
        decoder(
            readers=(*_READERS, "mlp.shared_expert_gate", "mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj")
        ),
        e=experts("num_experts or num_local_experts"),
        n=neurons(partial=True),
        m=neurons(size="moe_intermediate_size", label=_EXPERT, partial=True),
        s=neurons(size="shared_expert_intermediate_size", label="layers.{i}.shared", partial=True),
    ),
    tensors={
        **_ENDS,
        **_TWO_NORMS,
        **attention(_ATTENTION),
        **gated_mlp(_MLP),
        f"{_MLP}gate.weight": "e d",
        **gated_mlp(f"{_MLP}experts.{{e}}.", n="m"),
        **gated_mlp(f"{_MLP}shared_expert.", n="s"),
        f"{_MLP}shared_expert_gate.weight": "1 d ? any",
    },
)

QWEN3_MOE = Family(
    name="qwen3_moe",
    architectures=("Qwen3MoeForCausalLM",),
    model_types=("qwen3_moe",),
    **_sparse(
        decoder(readers=_READERS, normed=True, scope=("i",)),
        e=experts("num_experts or num_local_experts"),
        n=neurons(partial=True),
        m=neurons(size="moe_intermediate_size", label=_EXPERT, partial=True),
    ),
    tensors={
        **_ENDS,
        **_TWO_NORMS,
        **attention(_ATTENTION),
        f"{_ATTENTION}q_norm.weight": "q!",
        f"{_ATTENTION}k_norm.weight": "q!",
        **gated_mlp(_MLP),
        f"{_MLP}gate.weight": "e d",
        **gated_mlp(f"{_MLP}experts.{{e}}.", n="m"),
    },
)

GPT_OSS = Family(
    name="gpt_oss",
    architectures=("GptOssForCausalLM",),
    model_types=("gpt_oss",),
    **_sparse(
        decoder(norms=("input_layernorm", "")),
        e=experts("num_local_experts"),
        n=neurons("order", label=_EXPERT, partial=True),
    ),
    tensors={
        **_ENDS,
        **_TWO_NORMS,
        **attention(_ATTENTION),
        f"{_ATTENTION}sinks": "(g r)",
        f"{_MLP}router.weight": "e d",
        f"{_MLP}router.bias": "e",
        f"{_MLP}experts.gate_up_proj": "e d (n 2)",
        f"{_MLP}experts.gate_up_proj_bias": "e (n 2)",
        f"{_MLP}experts.down_proj": "e n d",
        f"{_MLP}experts.down_proj_bias": "e d",
    },
)

_MLA = "layers.{i}.attn"
DEEPSEEK = Family(
    name="deepseek",
    architectures=("DeepseekV3ForCausalLM", "DeepseekV2ForCausalLM"),
    model_types=("deepseek_v3", "deepseek_v2"),
    axes={
        "d": stream("signed"),
        "u": Axis(kind="signed", size="q_lora_rank", scope=("i",), space="latents", stream=(_MLA, "u."), partial=True),
        "z": Axis(kind="signed", size="kv_lora_rank", scope=("i",), space="latents", stream=(_MLA, "z.")),
        **heads(entries="v_head_dim", query={"size": "qk_nope_head_dim"}),
        "p": Axis(
            kind="planes",
            size="qk_rope_head_dim",
            scope=("i",),
            space="query_key",
            stream=(_MLA, "rope"),
            pairs=True,
        ),
        "e": experts("n_routed_experts", "fixed"),
        "n": neurons(partial=True),
        "m": neurons(size="moe_intermediate_size", label=_EXPERT, partial=True),
        "s": neurons(size="moe_intermediate_size * n_shared_experts", label="layers.{i}.shared", partial=True),
    },
    layers={"i": "num_hidden_layers"},
    dims={**DIMS, "head_dim": "v_head_dim"},
    tensors={
        **_ENDS,
        **_TWO_NORMS,
        f"{_ATTENTION}q_proj.weight": "(g (q | p)) d ? any",
        f"{_ATTENTION}q_a_proj.weight": "u d",
        f"{_ATTENTION}q_a_proj.bias": "u ?",
        f"{_ATTENTION}q_a_layernorm.weight": "u!",
        f"{_ATTENTION}q_b_proj.weight": "(g (q | p)) u",
        f"{_ATTENTION}kv_a_proj_with_mqa.weight": "(z | p') d",
        f"{_ATTENTION}kv_a_proj_with_mqa.bias": "(z | p') ?",
        f"{_ATTENTION}kv_a_layernorm.weight": "z!",
        f"{_ATTENTION}kv_b_proj.weight": "(g (q' | w)) z",
        f"{_ATTENTION}o_proj.weight": "d (g w')",
        f"{_ATTENTION}o_proj.bias": "d ?",
        **gated_mlp(_MLP),
        f"{_MLP}gate.weight": "e d ? any",
        f"{_MLP}gate.e_score_correction_bias": "e ? any",
        **gated_mlp(f"{_MLP}experts.{{e}}.", n="m"),
        **gated_mlp(f"{_MLP}shared_experts.", n="s"),
    },
)
