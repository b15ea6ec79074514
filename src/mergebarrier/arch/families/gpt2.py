"""GPT-2: LayerNorm before each block, learned positions, fused q|k|v, plain MLP, weights stored as (in, out).

Files from before the class had a head lack the ``transformer.`` prefix; both spellings are read.
"""

from mergebarrier.arch.families.parts import heads, neurons, norms, stream
from mergebarrier.arch.family import Family

_LAYER = "transformer.h.{i}."
_HEAD_DIM = "n_embd / n_head"
_ROWS = "(g q | g q' | g w)"

GPT2 = Family(
    name="gpt2",
    architectures=("GPT2LMHeadModel",),
    model_types=("gpt2",),
    axes={
        "d": stream("centred", "n_embd"),
        **heads(heads="n_head", entries=_HEAD_DIM),
        "n": neurons("order", "n_inner or 4 * n_embd"),
    },
    layers={"i": "n_layer"},
    dims={
        "hidden": "n_embd",
        "mlp_width": "n_inner or 4 * n_embd",
        "vocab": "vocab_size",
        "n_layers": "n_layer",
        "positions": "n_positions",
        "n_heads": "n_head",
        "n_kv_heads": "n_head",
        "head_dim": _HEAD_DIM,
    },
    tensors={
        "transformer.wte.weight": "_ d",
        "transformer.wpe.weight": "_ d",
        **norms(f"{_LAYER}ln_1"),
        f"{_LAYER}attn.c_attn.weight": f"d {_ROWS}",
        f"{_LAYER}attn.c_attn.bias": _ROWS,
        f"{_LAYER}attn.c_proj.weight": "(g w') d",
        f"{_LAYER}attn.c_proj.bias": "d",
        f"{_LAYER}attn.bias": "=",
        f"{_LAYER}attn.masked_bias": "=",
        **norms(f"{_LAYER}ln_2"),
        f"{_LAYER}mlp.c_fc.weight": "d n",
        f"{_LAYER}mlp.c_fc.bias": "n",
        f"{_LAYER}mlp.c_proj.weight": "n d",
        f"{_LAYER}mlp.c_proj.bias": "d",
        **norms("transformer.ln_f"),
        "lm_head.weight": "_ d",
    },
    spellings=((r"^(?!transformer\.|lm_head)", "transformer."),),
    body="transformer.",
    tied=True,
    folds={f"{_LAYER}ln_1": (f"{_LAYER}attn.c_attn",), f"{_LAYER}ln_2": (f"{_LAYER}mlp.c_fc",)},
    refused={"add_cross_attention": ((None, False), "cross-attention is not in this table")},
)
