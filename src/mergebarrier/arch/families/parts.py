"""What many tables share: the axes of a decoder, and the lines of attention, of an MLP and of norms."""

from collections.abc import Mapping, Sequence
from typing import Any

from mergebarrier.arch.axes import Axis

_ATTENTION = "layers.{i}.attn"
_MLP = "layers.{i}.mlp"
_HEAD_DIM = "head_dim or hidden_size / num_attention_heads"
_KEY_HEADS = "num_key_value_heads or num_attention_heads"

#: Names that people use, for the configurations of most decoders.
DIMS: Mapping[str, str] = {
    "hidden": "hidden_size",
    "mlp_width": "intermediate_size",
    "vocab": "vocab_size",
    "n_layers": "num_hidden_layers",
    "positions": "0",
    "n_heads": "num_attention_heads",
    "n_kv_heads": _KEY_HEADS,
    "head_dim": _HEAD_DIM,
}


def stream(kind: Any, size: str = "hidden_size") -> Axis:
    """Return the residual stream: "signed" read through RMSNorm, "centred" through LayerNorm."""
    return Axis(kind=kind, size=size)


def heads(key_heads: str = _KEY_HEADS, heads: str = "num_attention_heads", label: str = _ATTENTION) -> dict[str, Axis]:
    """Return the order of head groups "g" and of the query heads of a group "r"."""
    drawn = (label, "heads")
    return {
        "g": Axis(kind="order", size=key_heads, scope=("i",), space="heads", stream=drawn),
        "r": Axis(
            kind="order",
            size=f"({heads}) / ({key_heads})",
            scope=("i", "g"),
            space="heads",
            stream=drawn,
            uneven="{} query heads cannot share {} key/value heads",
        ),
    }


def head_entries(size: str = _HEAD_DIM, label: str = _ATTENTION, **query: Any) -> dict[str, Axis]:
    """Return the entries of query and key heads "q" (rotary unless ``kind`` says otherwise) and of value heads "w"."""
    scope = query.pop("scope", ("i", "g"))
    kind = query.pop("kind", "planes")
    return {
        "q": Axis(kind=kind, size=size, scope=scope, space="query_key", stream=(label, "qk"), **query),
        "w": Axis(kind="basis", size=size, scope=("i", "g"), space="value_output", stream=(label, "vo")),
    }


def neurons(kind: Any = "glu", size: str = "intermediate_size", label: str = _MLP, **more: Any) -> Axis:
    """Return the neurons of an MLP."""
    scope = more.pop("scope", ("i",))
    return Axis(kind=kind, size=size, scope=scope, space="neurons", stream=(label, ""), **more)


def rotary_decoder(
    stream_kind: Any = "signed",
    mlp: Any = "glu",
    readers: Sequence[str] = ("mlp.gate_proj", "mlp.up_proj"),
    **query: Any,
) -> dict[str, Any]:
    """Return axes, layers, dims and folds of a decoder with rotary heads, as arguments of Family.

    ``readers`` are the maps behind the second norm of a layer.
    """
    layer = "model.layers.{i}."
    return {
        "axes": {"d": stream(stream_kind), **head_entries(**query), **heads(), "n": neurons(mlp)},
        "layers": {"i": "num_hidden_layers"},
        "dims": DIMS,
        "folds": {
            f"{layer}input_layernorm": tuple(f"{layer}self_attn.{role}_proj" for role in "qkv"),
            f"{layer}post_attention_layernorm": tuple(f"{layer}{name}" for name in readers),
        },
    }


def linear(name: str, rows: str, columns: str, bias: str = "?") -> dict[str, str]:
    """Return the lines of a linear map; ``bias`` ends the bias line: "?", "? key", "" for always."""
    return {f"{name}.weight": f"{rows} {columns}", f"{name}.bias": f"{rows} {bias}".strip()}


def attention(
    prefix: str,
    names: Sequence[str] = ("q_proj", "k_proj", "v_proj", "o_proj"),
    *,
    group: str = "g",
    query: str = "g r",
    entries: str = "q",
    value: str = "w",
    d: str = "d",
    source: str = "",
    bias: str = "?",
) -> dict[str, str]:
    """Return the lines of attention: q and k meet on ``entries``, v and o on ``value``."""
    q, k, v, o = (f"{prefix}{name}" for name in names)
    return {
        **linear(q, f"({query} {entries})", d, bias),
        **linear(k, f"({group} {entries}')", source or d, bias),
        **linear(v, f"({group} {value})", source or d, bias),
        **linear(o, d, f"({query} {value}')", bias),
    }


def gated_mlp(
    prefix: str,
    names: Sequence[str] = ("gate_proj", "up_proj", "down_proj"),
    n: str = "n",
    d: str = "d",
    bias: str = "?",
) -> dict[str, str]:
    """Return the lines of down(act(gate x) * up x)."""
    gate, up, down = (f"{prefix}{name}" for name in names)
    return {
        **linear(gate, n, d, bias),
        **linear(up, f"{n}^", d, bias),
        **linear(down, d, f"{n}^'", bias),
    }


def plain_mlp(
    prefix: str, names: Sequence[str] = ("fc1", "fc2"), n: str = "n", d: str = "d", bias: str = "?"
) -> dict[str, str]:
    """Return the lines of fc2(act(fc1 x))."""
    return {**linear(f"{prefix}{names[0]}", n, d, bias), **linear(f"{prefix}{names[1]}", d, n, bias)}


def norms(*names: str, d: str = "d", bias: str = "?") -> dict[str, str]:
    """Return the lines of norms: a gain, and a shift where there is one."""
    return {key: text for name in names for key, text in ((f"{name}.weight", f"{d}!"), (f"{name}.bias", f"{d} {bias}"))}
