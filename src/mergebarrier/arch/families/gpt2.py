"""GPT-2: LayerNorm before each block, learned positions, fused q|k|v, plain MLP, weights stored as (in, out).

Files from before the class had a head lack the ``transformer.`` prefix; both spellings are read.
"""

from mergebarrier.arch.families.table import Family, Rule, Size

_ATTENTION = "layers.{i}.attn"
_MLP = "layers.{i}.mlp"

GPT2 = Family(
    name="gpt2",
    architectures=("GPT2LMHeadModel",),
    model_types=("gpt2",),
    sizes={
        "hidden": Size("n_embd"),
        "mlp_width": Size("n_inner", lambda s: 4 * s["hidden"]),
        "vocab": Size("vocab_size"),
        "n_layers": Size("n_layer"),
        "positions": Size("n_positions"),
        "n_heads": Size("n_head"),
        "n_kv_heads": Size("n_head"),
        "head_dim": Size("head_dim", lambda s: s["hidden"] // s["n_heads"]),
    },
    rotary=False,
    gated=False,
    centred=True,
    prefixes=("transformer.", ""),
    rules=(
        Rule("wte.weight", "embed", ("embed.weight",)),
        Rule("wpe.weight", "position", ("position.weight",)),
        Rule("h.{i}.ln_1.weight", _ATTENTION, ("norm.weight",)),
        Rule("h.{i}.ln_1.bias", _ATTENTION, ("norm.bias",)),
        Rule("h.{i}.attn.c_attn.weight", _ATTENTION, ("q.weight", "k.weight", "v.weight"), transposed=True),
        Rule("h.{i}.attn.c_attn.bias", _ATTENTION, ("q.bias", "k.bias", "v.bias")),
        Rule("h.{i}.attn.c_proj.weight", _ATTENTION, ("o.weight",), transposed=True),
        Rule("h.{i}.attn.c_proj.bias", _ATTENTION, ("o.bias",)),
        Rule("h.{i}.ln_2.weight", _MLP, ("norm.weight",)),
        Rule("h.{i}.ln_2.bias", _MLP, ("norm.bias",)),
        Rule("h.{i}.mlp.c_fc.weight", _MLP, ("fc1.weight",), transposed=True),
        Rule("h.{i}.mlp.c_fc.bias", _MLP, ("fc1.bias",)),
        Rule("h.{i}.mlp.c_proj.weight", _MLP, ("fc2.weight",), transposed=True),
        Rule("h.{i}.mlp.c_proj.bias", _MLP, ("fc2.bias",)),
        Rule("ln_f.weight", "norm", ("norm.weight",)),
        Rule("ln_f.bias", "norm", ("norm.bias",)),
        Rule("lm_head.weight", "head", ("head.weight",), optional=True),
    ),
    verbatim=("h.{i}.attn.bias", "h.{i}.attn.masked_bias"),
    refused={
        "add_cross_attention": ((None, False), "cross-attention is not in this table"),
    },
)
