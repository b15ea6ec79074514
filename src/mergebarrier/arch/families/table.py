"""The records of the architecture tables: what a family of models looks like on disk, as data.

A family is a list of rules, one per physical tensor name; a rule says in which circuit the tensor lives, which logical
tensors it holds (fused q, k, v are three) and whether it is stored transposed.  What a logical tensor means, and which
symmetry acts on each of its axes, is the same for every family: ``LOGICAL`` below.

Layout of a logical weight is that of ``nn.Linear``: (out, in), y = W x + b.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Dims:
    """Sizes and kinds that decide which symmetries a model has.

    Attributes:
      hidden, mlp_width, vocab, n_layers: counts; positions: rows of a learned position table (0 when there is none).
      n_heads, n_kv_heads, head_dim: attention; query head h reads group h // (n_heads // n_kv_heads).
      rotary: True when q and k are rotated (planes are dims i and i + head_dim/2), False when positions are learned.
      gated:  True for down(act(gate x) * up x), False for fc2(act(fc1 x)).
      centred: True when the stream is read through LayerNorm, False for RMSNorm.
    """

    hidden: int
    mlp_width: int
    vocab: int
    n_layers: int
    positions: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    rotary: bool
    gated: bool
    centred: bool

    @property
    def heads_per_group(self) -> int:
        """Query heads that share one key and value head."""
        return self.n_heads // self.n_kv_heads


@dataclass(frozen=True)
class Logical:
    """One logical tensor: the size of its rows, and on which axis the residual stream enters.

    Attributes:
      rows:   size of axis 0 (and of the bias).
      columns: size of axis 1, None for a vector.
      stream: "columns" for a reader, "rows" for a writer, "entries" for a gain or shift of the stream, "" for none.
    """

    rows: Callable[[Dims], int]
    columns: Callable[[Dims], int] | None
    stream: str


def _hidden(d: Dims) -> int:
    return d.hidden


def _query(d: Dims) -> int:
    return d.n_heads * d.head_dim


def _key_value(d: Dims) -> int:
    return d.n_kv_heads * d.head_dim


def _mlp(d: Dims) -> int:
    return d.mlp_width


LOGICAL: Mapping[str, Logical] = {
    "embed.weight": Logical(lambda d: d.vocab, _hidden, "columns"),
    "position.weight": Logical(lambda d: d.positions, _hidden, "columns"),
    "head.weight": Logical(lambda d: d.vocab, _hidden, "columns"),
    "norm.weight": Logical(_hidden, None, "entries"),
    "norm.bias": Logical(_hidden, None, "entries"),
    "q.weight": Logical(_query, _hidden, "columns"),
    "q.bias": Logical(_query, None, ""),
    "k.weight": Logical(_key_value, _hidden, "columns"),
    "k.bias": Logical(_key_value, None, ""),
    "v.weight": Logical(_key_value, _hidden, "columns"),
    "v.bias": Logical(_key_value, None, ""),
    "o.weight": Logical(_hidden, _query, "rows"),
    "o.bias": Logical(_hidden, None, "rows"),
    "gate.weight": Logical(_mlp, _hidden, "columns"),
    "gate.bias": Logical(_mlp, None, ""),
    "up.weight": Logical(_mlp, _hidden, "columns"),
    "up.bias": Logical(_mlp, None, ""),
    "down.weight": Logical(_hidden, _mlp, "rows"),
    "down.bias": Logical(_hidden, None, "rows"),
    "fc1.weight": Logical(_mlp, _hidden, "columns"),
    "fc1.bias": Logical(_mlp, None, ""),
    "fc2.weight": Logical(_hidden, _mlp, "rows"),
    "fc2.bias": Logical(_hidden, None, "rows"),
}

# Circuits whose tensors the symmetries touch on columns only: any block of their rows can be handled alone.
ROWWISE_KINDS = ("embed", "position", "head")


@dataclass(frozen=True)
class Rule:
    """One physical tensor of a family.

    Attributes:
      name:       path on disk, with ``{i}`` for the layer.
      circuit:    circuit it belongs to, with ``{i}``: "layers.{i}.attn", "layers.{i}.mlp", "embed", "norm", ...
      holds:      logical tensors in storage order along the output axis; more than one when fused.
      transposed: stored as (in, out).
      optional:   may be absent (a bias that the config switches off, a tied head).
    """

    name: str
    circuit: str
    holds: tuple[str, ...]
    transposed: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Size:
    """The key of a dimension in config.json, and its value when the key is absent or null."""

    key: str
    default: Callable[[Mapping[str, int]], int] | None = None


@dataclass(frozen=True)
class Family:
    """A family of checkpoints: a further one is one file that builds one of these.

    Attributes:
      name:          our name for it.
      architectures: class names in config.json that this table describes.
      model_types:   ``model_type`` values.
      sizes:         Dims field -> Size, resolved in order (a default may use the sizes before it).
      rotary, gated, centred: kinds, see ``Dims``.
      prefixes:      prefixes under which the names may be stored, tried in order.
      rules:         the tensors.
      verbatim:      names of buffers that are copied as they are.
      refused:       config key -> (values that are fine, why anything else is not).
    """

    name: str
    architectures: tuple[str, ...]
    model_types: tuple[str, ...]
    sizes: Mapping[str, Size]
    rotary: bool
    gated: bool
    centred: bool
    prefixes: tuple[str, ...]
    rules: tuple[Rule, ...]
    verbatim: tuple[str, ...]
    refused: Mapping[str, tuple[tuple[object, ...], str]]
