"""Encoder and decoder: T5, BART, Whisper; one stream for both stacks, cross-attention reads the encoder's end of it.

T5: the relative bias of the first layer serves its stack, so the order of heads is one per stack; those of
cross-attention are free per layer.  T5 has no 1/sqrt(d) and no biases; the gated variant is v1.1.
"""

from collections.abc import Mapping

from mergebarrier.arch.axes import Axis, Kind
from mergebarrier.arch.families.parts import attention, gated_mlp, heads, linear, neurons, norms, plain_mlp, stream
from mergebarrier.arch.family import Family

_STACKS = {"encoder": "i", "decoder": "j"}


def _shared(stack: str, at: str, names: tuple[str, str, str]) -> dict[str, Axis]:
    order, query, value = names
    label = f"{stack}.layers.{{{at}}}.attn"
    return {
        order: Axis(kind="order", size="num_heads", space="heads", stream=(f"{stack}.attn", "heads")),
        query: Axis(kind="basis", size="d_kv", scope=(at, order), space="query_key", stream=(label, "qk")),
        value: Axis(kind="basis", size="d_kv", scope=(at, order), space="value_output", stream=(label, "vo")),
    }


def _t5_attention(prefix: str, names: tuple[str, str, str]) -> dict[str, str]:
    order, query, value = names
    return {
        f"{prefix}q.weight": f"({order} {query}) d",
        f"{prefix}k.weight": f"({order} {query}') d",
        f"{prefix}v.weight": f"({order} {value}) d",
        f"{prefix}o.weight": f"d ({order} {value}')",
    }


_ENCODER, _DECODER, _CROSS = ("a", "aq", "aw"), ("b", "bq", "bw"), ("c", "cq", "cw")


def _t5(name: str, gated: bool) -> Family:
    kind: Kind = "glu" if gated else "order"
    cross = "decoder.layers.{j}.cross"
    tensors: dict[str, str] = {"shared.weight": "_ d"}
    for alias in ("encoder", "decoder"):
        tensors[f"{alias}.embed_tokens.weight"] = "_ d ?"
    folds: dict[str, tuple[str, ...]] = {}
    for stack, at in _STACKS.items():
        block, axes = f"{stack}.block.{{{at}}}.layer.", _ENCODER if stack == "encoder" else _DECODER
        last, n = (1, "n") if stack == "encoder" else (2, "m")
        tensors |= norms(*(f"{block}{number}.layer_norm" for number in range(last + 1)), f"{stack}.final_layer_norm")
        tensors |= _t5_attention(f"{block}0.SelfAttention.", axes)
        tensors[f"{block}0.SelfAttention.relative_attention_bias.weight"] = f"_ {axes[0]} ? any"
        if stack == "decoder":
            tensors |= _t5_attention(f"{block}1.EncDecAttention.", _CROSS)
            folds[f"{block}1.layer_norm"] = (f"{block}1.EncDecAttention.q",)
        feed = f"{block}{last}.DenseReluDense."
        tensors |= gated_mlp(feed, ("wi_0", "wi_1", "wo"), n) if gated else plain_mlp(feed, ("wi", "wo"), n)
        folds[f"{block}0.layer_norm"] = tuple(f"{block}0.SelfAttention.{role}" for role in "qkv")
        folds[f"{block}{last}.layer_norm"] = (f"{feed}wi_0", f"{feed}wi_1") if gated else (f"{feed}wi",)
    return Family(
        name=name,
        architectures=("T5ForConditionalGeneration",),
        model_types=("t5", "mt5"),
        axes={
            "d": stream("signed", "d_model"),
            **_shared("encoder", "i", _ENCODER),
            **_shared("decoder", "j", _DECODER),
            "c": Axis(kind="order", size="num_heads", scope=("j",), space="heads", stream=(cross, "heads")),
            "cq": Axis(kind="basis", size="d_kv", scope=("j", "c"), space="query_key", stream=(cross, "qk")),
            "cw": Axis(kind="basis", size="d_kv", scope=("j", "c"), space="value_output", stream=(cross, "vo")),
            "n": neurons(kind, "d_ff", "encoder.layers.{i}.mlp"),
            "m": neurons(kind, "d_ff", "decoder.layers.{j}.mlp"),
        },
        layers={"i": "num_layers", "j": "num_decoder_layers or num_layers"},
        dims={
            "hidden": "d_model",
            "mlp_width": "d_ff",
            "vocab": "vocab_size",
            "n_layers": "num_layers",
            "positions": "0",
            "n_heads": "num_heads",
            "n_kv_heads": "num_heads",
            "head_dim": "d_kv",
        },
        tensors={**tensors, "lm_head.weight": "_ d"},
        folds=folds,
        tied=True,
        selects={"feed_forward_proj": ("gated-gelu", "gated-silu") if gated else (None, "relu")},
    )


T5 = _t5("t5", gated=False)
T5_GATED = _t5("t5_gated", gated=True)


def _encoder_decoder(name: str, architecture: str, embeddings: Mapping[str, str], *, before: bool) -> Family:
    """BART and Whisper: the same blocks, norms behind them or before them, other ends."""
    # Whisper's convolutions end in an activation, which a sign would change.
    axes: dict[str, Axis] = {"d": stream("order" if before else "centred", "d_model")}
    tensors: dict[str, str] = dict(embeddings)
    folds: dict[str, tuple[str, ...]] = {}
    kinds = (
        ("encoder", "i", "self_attn", "aefg"),
        ("decoder", "j", "self_attn", "bhkl"),
        ("decoder", "j", "encoder_attn", "cmop"),
    )
    for stack, at, kind, names in kinds:
        label, layer = f"{stack}.layers.{{{at}}}.{kind}", f"model.{stack}.layers.{{{at}}}."
        count = f"{stack}_attention_heads"
        axes |= heads(label, heads=count, entries=f"d_model / {count}", names=names)
        tensors |= attention(f"{layer}{kind}.", ("q_proj", "k_proj", "v_proj", "out_proj"), axes=names, grouped=False)
        tensors |= norms(f"{layer}{kind}_layer_norm")
        roles = "qkv" if kind == "self_attn" else "q"
        folds[f"{layer}{kind}_layer_norm"] = tuple(f"{layer}{kind}.{role}_proj" for role in roles)
    for stack, at, n in (("encoder", "i", "n"), ("decoder", "j", "x")):
        layer = f"model.{stack}.layers.{{{at}}}."
        axes[n] = neurons("order", f"{stack}_ffn_dim", f"{stack}.layers.{{{at}}}.mlp")
        tensors |= {**plain_mlp(layer, n=n), **norms(f"{layer}final_layer_norm")}
        folds[f"{layer}final_layer_norm"] = (f"{layer}fc1",)
    return Family(
        name=name,
        architectures=(architecture,),
        model_types=(name,),
        axes=axes,
        layers={"i": "encoder_layers", "j": "decoder_layers"},
        dims={
            "hidden": "d_model",
            "mlp_width": "encoder_ffn_dim",
            "vocab": "vocab_size",
            "n_layers": "encoder_layers",
            "positions": "0",
            "n_heads": "encoder_attention_heads",
            "n_kv_heads": "encoder_attention_heads",
            "head_dim": "d_model / encoder_attention_heads",
        },
        tensors=tensors,
        folds=folds if before else {},
        head="proj_out.weight" if before else "lm_head.weight",
        tied=True,
    )


BART = _encoder_decoder(
    "bart",
    "BartForConditionalGeneration",
    {
        "model.shared.weight": "_ d",
        "model.encoder.embed_tokens.weight": "_ d ?",
        "model.decoder.embed_tokens.weight": "_ d ?",
        "model.encoder.embed_positions.weight": "_ d",
        "model.decoder.embed_positions.weight": "_ d",
        **norms("model.encoder.layernorm_embedding", "model.decoder.layernorm_embedding"),
        "final_logits_bias": "=",
        "lm_head.weight": "_ d",
    },
    before=False,
)
WHISPER = _encoder_decoder(
    "whisper",
    "WhisperForConditionalGeneration",
    {
        **linear("model.encoder.conv1", "_", "_ _", ""),
        "model.encoder.conv2.weight": "d _ _",
        "model.encoder.conv2.bias": "d",
        "model.encoder.embed_positions.weight": "_ d",
        "model.decoder.embed_tokens.weight": "_ d",
        "model.decoder.embed_positions.weight": "_ d",
        **norms("model.encoder.layer_norm", "model.decoder.layer_norm"),
        "proj_out.weight": "_ d",
    },
    before=True,
)
