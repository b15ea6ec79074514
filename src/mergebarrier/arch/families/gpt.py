"""Decoders with LayerNorm and a plain MLP: GPT-NeoX, GPT-J, OPT, Bloom, Falcon, MPT, each with its own storage.

GPT-NeoX, Bloom      q, k, v of a head side by side;  Falcon-40B the query heads of a group, then its key and value
GPT-J                planes are entries (2i, 2i + 1) of the first ``rotary_dim``
Bloom, MPT           ALiBi: a slope per head, so heads keep their order
"""

from collections.abc import Mapping

from mergebarrier.arch.families.parts import attention, heads, neurons, norms, plain_mlp, stream
from mergebarrier.arch.family import Family

_LAYER = "transformer.h.{i}."
_WIDTH = "hidden_size / num_attention_heads"


def _dims(hidden: str, mlp: str, layers: str, n_heads: str, key_heads: str = "") -> Mapping[str, str]:
    return {
        "hidden": hidden,
        "mlp_width": mlp,
        "vocab": "vocab_size",
        "n_layers": layers,
        "positions": "0",
        "n_heads": n_heads,
        "n_kv_heads": key_heads or n_heads,
        "head_dim": f"({hidden}) / ({n_heads})",
    }


_NEOX = "gpt_neox.layers.{i}."
NEOX = Family(
    name="gpt_neox",
    architectures=("GPTNeoXForCausalLM",),
    model_types=("gpt_neox",),
    axes={
        "d": stream("centred"),
        **heads(
            entries=_WIDTH,
            query={
                "kind": "planes",
                "rotary": f"{_WIDTH} * (rope_parameters.partial_rotary_factor or rotary_pct or 0.25)",
            },
        ),
        "n": neurons("order"),
    },
    layers={"i": "num_hidden_layers"},
    dims=_dims("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    tensors={
        "gpt_neox.embed_in.weight": "_ d",
        **norms(f"{_NEOX}input_layernorm", f"{_NEOX}post_attention_layernorm", "gpt_neox.final_layer_norm"),
        f"{_NEOX}attention.query_key_value.weight": "(g (q | q' | w)) d",
        f"{_NEOX}attention.query_key_value.bias": "(g (q | q' | w)) ?",
        f"{_NEOX}attention.dense.weight": "d (g w')",
        f"{_NEOX}attention.dense.bias": "d ?",
        f"{_NEOX}attention.rotary_emb.inv_freq": "=",
        f"{_NEOX}attention.bias": "=",
        f"{_NEOX}attention.masked_bias": "=",
        **plain_mlp(f"{_NEOX}mlp.", ("dense_h_to_4h", "dense_4h_to_h")),
        "embed_out.weight": "_ d",
    },
    folds={
        f"{_NEOX}input_layernorm": (f"{_NEOX}attention.query_key_value",),
        f"{_NEOX}post_attention_layernorm": (f"{_NEOX}mlp.dense_h_to_4h",),
    },
    spellings=((r"^lm_head\.", "embed_out."),),
    head="embed_out.weight",
    body="gpt_neox.",
)

GPTJ = Family(
    name="gptj",
    body="transformer.",
    architectures=("GPTJForCausalLM",),
    model_types=("gptj",),
    axes={
        "d": stream("centred", "n_embd"),
        **heads(
            heads="n_head",
            entries="n_embd / n_head",
            query={"kind": "planes", "rotary": "rotary_dim or n_embd / n_head", "pairs": True},
        ),
        "n": neurons("order", "n_inner or 4 * n_embd"),
    },
    layers={"i": "n_layer"},
    dims=_dims("n_embd", "n_inner or 4 * n_embd", "n_layer", "n_head"),
    tensors={
        "transformer.wte.weight": "_ d",
        **norms(f"{_LAYER}ln_1", "transformer.ln_f"),
        **attention(f"{_LAYER}attn.", ("q_proj", "k_proj", "v_proj", "out_proj"), grouped=False),
        f"{_LAYER}attn.bias": "=",
        f"{_LAYER}attn.masked_bias": "=",
        **plain_mlp(f"{_LAYER}mlp.", ("fc_in", "fc_out")),
        "lm_head.weight": "_ d",
        "lm_head.bias": "_ ?",
    },
    folds={f"{_LAYER}ln_1": (*(f"{_LAYER}attn.{role}_proj" for role in "qkv"), f"{_LAYER}mlp.fc_in")},
)

_OPT = "model.decoder.layers.{i}."
OPT = Family(
    name="opt",
    architectures=("OPTForCausalLM",),
    model_types=("opt",),
    axes={"d": stream("centred"), **heads(entries=_WIDTH), "n": neurons("order", "ffn_dim")},
    layers={"i": "num_hidden_layers"},
    dims=_dims("hidden_size", "ffn_dim", "num_hidden_layers", "num_attention_heads"),
    tensors={
        "model.decoder.embed_tokens.weight": "_ d",
        "model.decoder.embed_positions.weight": "_ d",
        **norms(f"{_OPT}self_attn_layer_norm", f"{_OPT}final_layer_norm", "model.decoder.final_layer_norm"),
        **attention(f"{_OPT}self_attn.", ("q_proj", "k_proj", "v_proj", "out_proj"), grouped=False),
        **plain_mlp(_OPT),
        "lm_head.weight": "_ d",
    },
    spellings=((r"^decoder\.", "model.decoder."),),
    folds={
        f"{_OPT}self_attn_layer_norm": tuple(f"{_OPT}self_attn.{role}_proj" for role in "qkv"),
        f"{_OPT}final_layer_norm": (f"{_OPT}fc1",),
    },
    tied=True,
    refused={
        "word_embed_proj_dim / hidden_size": ((None, 1.0), "embeddings of another width are not in this table"),
        "do_layer_norm_before": ((None, True), "norms behind the block are not in this table"),
    },
)

BLOOM = Family(
    name="bloom",
    body="transformer.",
    architectures=("BloomForCausalLM",),
    model_types=("bloom",),
    axes={
        "d": stream("centred"),
        **heads(heads="n_head", entries="hidden_size / n_head", order="fixed"),
        "n": neurons("order", "4 * hidden_size"),
    },
    layers={"i": "n_layer"},
    dims=_dims("hidden_size", "4 * hidden_size", "n_layer", "n_head"),
    tensors={
        "transformer.word_embeddings.weight": "_ d",
        **norms(
            "transformer.word_embeddings_layernorm",
            f"{_LAYER}input_layernorm",
            f"{_LAYER}post_attention_layernorm",
            "transformer.ln_f",
        ),
        f"{_LAYER}self_attention.query_key_value.weight": "(g (q | q' | w)) d",
        f"{_LAYER}self_attention.query_key_value.bias": "(g (q | q' | w))",
        f"{_LAYER}self_attention.dense.weight": "d (g w')",
        f"{_LAYER}self_attention.dense.bias": "d",
        **plain_mlp(f"{_LAYER}mlp.", ("dense_h_to_4h", "dense_4h_to_h")),
        "lm_head.weight": "_ d",
    },
    spellings=((r"^(?!transformer\.|lm_head)", "transformer."),),
    folds={
        f"{_LAYER}input_layernorm": (f"{_LAYER}self_attention.query_key_value",),
        f"{_LAYER}post_attention_layernorm": (f"{_LAYER}mlp.dense_h_to_4h",),
    },
    tied=True,
)


def _falcon(name: str, new: bool, key_heads: str, rows: str, folds: Mapping[str, tuple[str, ...]]) -> Family:
    query = {"kind": "planes"}
    return Family(
        name=name,
        body="transformer.",
        architectures=("FalconForCausalLM",),
        model_types=("falcon",),
        axes={
            "d": stream("centred"),
            **heads(entries=_WIDTH, key_heads=key_heads, query=query),
            "n": neurons("order", "ffn_hidden_size or 4 * hidden_size"),
        },
        layers={"i": "num_hidden_layers"},
        dims=_dims(
            "hidden_size", "ffn_hidden_size or 4 * hidden_size", "num_hidden_layers", "num_attention_heads", key_heads
        ),
        tensors={
            "transformer.word_embeddings.weight": "_ d",
            **norms(*folds, "transformer.ln_f"),
            f"{_LAYER}self_attention.query_key_value.weight": f"{rows} d",
            f"{_LAYER}self_attention.dense.weight": "d (g r w')",
            **plain_mlp(f"{_LAYER}mlp.", ("dense_h_to_4h", "dense_4h_to_h")),
            "lm_head.weight": "_ d",
        },
        folds=folds,
        tied=True,
        selects={"new_decoder_architecture": (True,) if new else (None, False)},
        refused={
            "alibi": ((None, False), "a slope per head is not in this table"),
            "bias": ((None, False), "biases are not in this table"),
        },
    )


_QKV, _UP = f"{_LAYER}self_attention.query_key_value", f"{_LAYER}mlp.dense_h_to_4h"
FALCON_7B = _falcon("falcon_7b", False, "1", "(g r q | g q' | g w)", {f"{_LAYER}input_layernorm": (_QKV, _UP)})
FALCON_40B = _falcon(
    "falcon_40b",
    True,
    "num_kv_heads",
    "(g (r q | q' | w))",
    {f"{_LAYER}ln_attn": (_QKV,), f"{_LAYER}ln_mlp": (_UP,)},
)

_MPT = "transformer.blocks.{i}."
MPT = Family(
    name="mpt",
    body="transformer.",
    architectures=("MptForCausalLM",),
    model_types=("mpt",),
    axes={
        "d": stream("centred", "d_model"),
        **heads(heads="n_heads", entries="d_model / n_heads", order="fixed"),
        "n": neurons("order", "4 * d_model"),
    },
    layers={"i": "n_layers"},
    dims=_dims("d_model", "4 * d_model", "n_layers", "n_heads"),
    tensors={
        "transformer.wte.weight": "_ d",
        **norms(f"{_MPT}norm_1", f"{_MPT}norm_2", "transformer.norm_f"),
        f"{_MPT}attn.Wqkv.weight": "(g q | g q' | g w) d",
        f"{_MPT}attn.out_proj.weight": "d (g w')",
        **plain_mlp(f"{_MPT}ffn.", ("up_proj", "down_proj")),
        "lm_head.weight": "_ d",
    },
    folds={f"{_MPT}norm_1": (f"{_MPT}attn.Wqkv",), f"{_MPT}norm_2": (f"{_MPT}ffn.up_proj",)},
    tied=True,
    refused={
        "attn_config.clip_qkv": ((None,), "clipping q, k, v breaks the value/output maps"),
        "attn_config.qk_ln": ((None, False), "a norm on q and k is not in this table"),
    },
)
