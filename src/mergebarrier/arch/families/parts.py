"""What many tables share: the axes of a stack of layers, and the lines of attention, of an MLP and of norms."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mergebarrier.arch.axes import Axis, Kind

HEAD_DIM = "head_dim or hidden_size / num_attention_heads"
KEY_HEADS = "num_key_value_heads or num_attention_heads"
PARTIAL = "rope_parameters.partial_rotary_factor or partial_rotary_factor or 1"
_UNEVEN = "{} query heads cannot share {} key/value heads"

#: Names that people use, for the configurations of most decoders.
DIMS: Mapping[str, str] = {
    "hidden": "hidden_size",
    "mlp_width": "intermediate_size",
    "vocab": "vocab_size",
    "n_layers": "num_hidden_layers",
    "positions": "0",
    "n_heads": "num_attention_heads",
    "n_kv_heads": KEY_HEADS,
    "head_dim": HEAD_DIM,
}


def within(table: str, expressions: Mapping[str, str]) -> dict[str, str]:
    """Return expressions whose keys stand in a nested table of the configuration."""
    return {name: nested(table, text) for name, text in expressions.items()}


def nested(table: str, expression: str) -> str:
    """Return an expression whose keys stand in a nested table of the configuration."""
    return re.sub(r"(?<![\w.])(?!or\b)([A-Za-z_]\w*)", rf"{table}.\1", expression) if table else expression


def stream(kind: Kind, size: str = "hidden_size", label: str = "residual") -> Axis:
    """Return a residual stream: "signed" read through RMSNorm, "centred" through LayerNorm; towers label theirs."""
    return Axis(kind=kind, size=size, stream=(label, ""))


def heads(
    label: str = "layers.{i}.attn",
    *,
    entries: str = HEAD_DIM,
    heads: str = "num_attention_heads",
    key_heads: str = "",
    names: str = "grqw",
    order: Kind = "order",
    query: Mapping[str, Any] | None = None,
) -> dict[str, Axis]:
    """Return the axes of attention: head groups, query heads of a group, entries of query/key and of value heads.

    Args:
      label:     circuit that streams are named after; its placeholder is the scope.
      entries:   width of a head.
      heads:     number of query heads.
      key_heads: number of key/value heads, "" for as many (there are no groups then).
      names:     of the four axes.
      order:     "fixed" where heads may not be reordered (ALiBi).
      query:     arguments of the axis of query/key entries; any basis by default.
    """
    group, repeat, query_key, value = tuple(names)
    scope = tuple(re.findall(r"\{(\w)\}", label))
    any_basis: dict[str, Any] = {"kind": "basis", "size": entries, "scope": (*scope, group), "stream": (label, "qk")}
    found = {
        query_key: Axis(space="query_key", **(any_basis | dict(query or {}))),
        value: Axis(kind="basis", size=entries, scope=(*scope, group), space="value_output", stream=(label, "vo")),
        group: Axis(kind=order, size=key_heads or heads, scope=scope, space="heads", stream=(label, "heads")),
    }
    if key_heads:
        found[repeat] = Axis(
            kind=order,
            size=f"({heads}) / ({key_heads})",
            scope=(*scope, group),
            space="heads",
            stream=(label, "heads"),
            uneven=_UNEVEN,
        )
    return found


def neurons(kind: Kind = "glu", size: str = "intermediate_size", label: str = "layers.{i}.mlp", **more: Any) -> Axis:
    """Return the neurons of an MLP."""
    scope = tuple(re.findall(r"\{(\w)\}", label))
    return Axis(kind=kind, size=size, scope=scope, space="neurons", stream=(label, ""), **more)


def experts(size: str, kind: Kind = "order") -> Axis:
    """Return the experts of a layer; dense layers have none."""
    return Axis(kind=kind, size=size, scope=("i",), space="experts", stream=("layers.{i}.mlp", "experts"), partial=True)


def decoder(
    stream_kind: Kind = "signed",
    mlp: Kind = "glu",
    *,
    prefix: str = "model.layers.{i}.",
    config: str = "",
    attention_readers: Sequence[str] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    readers: Sequence[str] = ("mlp.gate_proj", "mlp.up_proj"),
    norms: tuple[str, str] = ("input_layernorm", "post_attention_layernorm"),
    **query: Any,
) -> dict[str, Any]:
    """Return axes, layers, dims and folds of a decoder with rotary heads, as arguments of Family.

    Args:
      stream_kind: of the residual stream.
      mlp:         kind of the neurons.
      prefix:      of the names of a layer.
      config:      nested table of the configuration that its keys stand in.
      attention_readers: maps behind the first norm.
      readers:     maps behind the second norm.
      norms:       names of the two norms, equal where one serves both, "" for none.
      query:       arguments of the rotary axis.
    """
    query = {"kind": "planes"} | query
    if "rotary" in query:
        query["rotary"] = nested(config, query["rotary"])
    axes = {
        "d": stream(stream_kind, nested(config, "hidden_size")),
        **heads(
            entries=nested(config, HEAD_DIM),
            heads=nested(config, "num_attention_heads"),
            key_heads=nested(config, KEY_HEADS),
            query=query,
        ),
        "n": neurons(mlp, nested(config, "intermediate_size")),
    }
    folds: dict[str, tuple[str, ...]] = {}
    for norm, maps in zip(norms, (attention_readers, readers), strict=True):
        if norm:
            folds[f"{prefix}{norm}"] = (*folds.get(f"{prefix}{norm}", ()), *(f"{prefix}{name}" for name in maps))
    return {
        "axes": axes,
        "layers": {"i": nested(config, "num_hidden_layers")},
        "dims": within(config, DIMS),
        "folds": folds,
    }


def linear(name: str, rows: str, columns: str, bias: str = "?") -> dict[str, str]:
    """Return the lines of a linear map; ``bias`` ends the bias line: "?", "? key", "" for always."""
    return {f"{name}.weight": f"{rows} {columns}", f"{name}.bias": f"{rows} {bias}".strip()}


def attention(
    prefix: str,
    names: Sequence[str] = ("q_proj", "k_proj", "v_proj", "o_proj"),
    *,
    axes: str = "grqw",
    grouped: bool = True,
    d: str = "d",
    bias: str = "?",
) -> dict[str, str]:
    """Return the lines of attention: q and k meet on the entries, v and o on those of the value heads."""
    g, r, q, w = tuple(axes)
    query = f"{g} {r}" if grouped else g
    to_q, to_k, to_v, to_o = (f"{prefix}{name}" for name in names)
    return {
        **linear(to_q, f"({query} {q})", d, bias),
        **linear(to_k, f"({g} {q}')", d, bias),
        **linear(to_v, f"({g} {w})", d, bias),
        **linear(to_o, d, f"({query} {w}')", bias),
    }


def gated_mlp(
    prefix: str, names: Sequence[str] = ("gate_proj", "up_proj", "down_proj"), n: str = "n", d: str = "d"
) -> dict[str, str]:
    """Return the lines of down(act(gate x) * up x)."""
    gate, up, down = (f"{prefix}{name}" for name in names)
    return {**linear(gate, n, d), **linear(up, f"{n}^", d), **linear(down, d, f"{n}^'")}


def plain_mlp(prefix: str, names: Sequence[str] = ("fc1", "fc2"), n: str = "n", d: str = "d") -> dict[str, str]:
    """Return the lines of fc2(act(fc1 x))."""
    return {**linear(f"{prefix}{names[0]}", n, d), **linear(f"{prefix}{names[1]}", d, n)}


def norms(*names: str, d: str = "d") -> dict[str, str]:
    """Return the lines of norms: a gain, and a shift where there is one."""
    return {line: text for name in names for line, text in ((f"{name}.weight", f"{d}!"), (f"{name}.bias", f"{d} ?"))}
