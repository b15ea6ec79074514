"""A family of checkpoints as data: its axes, one line per tensor, its spellings, and what else only it knows.

    tensors = {"model.layers.{i}.self_attn.q_proj.weight": "(g r q) d", ...}
    a line may end in "?" (all layers have the tensor, or none), in "? any" (each layer may), or in "? key" (all layers
    have it if that key of the configuration is true)

A table is checked when it is made: every axis that a line names exists, scopes can be met, marks make sense.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from mergebarrier.arch.axes import VERBATIM, Axis, Nodes, leaves, parse

#: Key of a line that each layer may have or lack.
ANY = "any"
PLACEHOLDER = re.compile(r"\{(\w)\}")


@dataclass(frozen=True, kw_only=True)
class TensorLine:
    """One line of a table.

    Attributes:
      name:     canonical name, with placeholders; ``pattern`` matches it.
      nodes:    one per stored axis; None for a tensor that is copied as it is.
      optional: may be absent, in all layers at once; ``key`` decides it where the configuration has that key.
    """

    name: str
    nodes: Nodes | None
    optional: bool = False
    key: str = ""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the canonical names of the line; a group per placeholder."""
        return re.compile(re.sub(r"\\\{(\w)\\\}", r"(?P<\1>\\d+)", re.escape(self.name)))

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes that it carries, each once."""
        nodes = self.nodes or ()
        return tuple(dict.fromkeys(leaf.axis for node in nodes for leaf in leaves(node) if leaf.axis))


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family; a further one is one file that makes one of these.

    Args:
      name:          our name for it.
      architectures: class names of config.json that the table describes.
      model_types:   ``model_type`` values.
      axes:          name -> Axis.
      tensors:       canonical name -> expression.
      layers:        placeholder -> expression for how many there are, for placeholders that count whole layers.
      spellings:     (regular expression, replacement): from a stored name to the canonical one.
      folds:         norm (without ".weight") -> the readers behind it (without ".weight").
      offset:        added to a stored gain: 1 where 1 + w multiplies.
      head:          canonical name of the output head; "" without one.
      tied:          whether a configuration that does not say so ties the head to the embedding.
      body:          prefix of the names of the model without a head.
      selects:       expression -> values: which of several tables of one class holds for a configuration.
      dims:          name that people use -> expression, for `inspect` and for comparing a model with its base.
      refused:       expression -> (values that are fine, why anything else is not).
      example:       arguments of a tiny model's configuration, as text.
    Raises: ValueError for a table that contradicts itself.
    """

    name: str
    architectures: tuple[str, ...]
    model_types: tuple[str, ...]
    axes: Mapping[str, Axis]
    tensors: Mapping[str, str]
    layers: Mapping[str, str]
    spellings: tuple[tuple[str, str], ...] = ()
    folds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    offset: float = 0.0
    head: str = "lm_head.weight"
    tied: bool = False
    body: str = "model."
    selects: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    dims: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, tuple[tuple[object, ...], str]] = field(default_factory=dict)
    example: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Look for contradictions, without a weight."""
        for line in self.lines:
            known = {*PLACEHOLDER.findall(line.name), *line.axes}
            for axis in line.axes:
                if axis not in self.axes:
                    raise ValueError(f"{self.name}: {line.name} names the axis {axis!r}, which is not declared")
                lacking = [name for name in self.axes[axis].scope if name not in known]
                if lacking:
                    what = f"an element of {axis!r} depends on {lacking[0]!r}, which {line.name} does not have"
                    raise ValueError(f"{self.name}: {what}")
        for norm, readers in self.folds.items():
            for name in (norm, *readers):
                if f"{name}.weight" not in self.tensors:
                    raise ValueError(f"{self.name}: folds name {name}, which is no line")

    @cached_property
    def lines(self) -> tuple[TensorLine, ...]:
        """The lines, parsed."""
        return tuple(_line(name, text) for name, text in self.tensors.items())

    @cached_property
    def variants(self) -> "Mapping[str, Family]":
        """Class name -> the table for it: the classes named, those with a classifier, those without a head."""
        found = {name: self for name in self.architectures}
        for name in self.architectures:
            stem = re.sub(r"For[A-Z]\w+$", "", name)
            found.setdefault(f"{stem}ForSequenceClassification", self._classifier)
            found.setdefault(f"{stem}Model", self._headless)
        return found

    @cached_property
    def _classifier(self) -> "Family":
        (stream, *_) = [name for name, axis in self.axes.items() if axis.is_stream]
        heads = {"score.weight": f"_ {stream} ?", "classifier.weight": f"_ {stream} ?", "classifier.bias": "_ ?"}
        tensors = {name: text for name, text in self.tensors.items() if name != self.head}
        return replace(self, tensors={**heads, **tensors}, head="")

    @cached_property
    def _headless(self) -> "Family":
        """A model that gives out its stream: the stream stays, and names may lack the prefix of the body."""
        fixed = {name: replace(axis, kind="fixed") if axis.is_stream else axis for name, axis in self.axes.items()}
        tensors = {name: text for name, text in self.tensors.items() if name != self.head}
        prefixed = (rf"^(?!{re.escape(self.body)})", self.body)
        return replace(self, axes=fixed, tensors=tensors, head="", spellings=(*self.spellings, prefixed))

    def line(self, name: str) -> TensorLine:
        """Return the line of that name."""
        return self._by_name[name]

    def acts(self, axis: str) -> bool:
        """Whether anything acts on an axis; "" is an axis that nothing acts on."""
        return bool(axis) and self.axes[axis].kind != "fixed"

    def norm_before(self, line: TensorLine) -> str:
        """Return the norm in front of a reader, without ".weight"; "" for none."""
        return self._norms.get(line.name.rpartition(".")[0], "")

    def is_folded(self, line: TensorLine) -> bool:
        """Whether a line belongs to a norm that can be folded into its readers."""
        return line.name.rpartition(".")[0] in self.folds

    @cached_property
    def _by_name(self) -> Mapping[str, TensorLine]:
        return {line.name: line for line in self.lines}

    @cached_property
    def _norms(self) -> Mapping[str, str]:
        return {reader: norm for norm, readers in self.folds.items() for reader in readers}

    def is_verbatim(self, stored: str) -> bool:
        """Whether a stored name is a buffer that is copied as it is, and that the stock class makes itself."""
        canonical = self.canonical(stored)
        return any(line.nodes is None and line.pattern.fullmatch(canonical) for line in self.lines)

    def canonical(self, stored: str) -> str:
        """Return the canonical spelling of a stored name."""
        for pattern, replacement in self.spellings:
            stored = re.sub(pattern, replacement, stored)
        return stored


def _line(name: str, text: str) -> TensorLine:
    expression, mark, key = text.partition("?")
    nodes = None if expression.strip() == VERBATIM else parse(expression.strip())
    return TensorLine(name=name, nodes=nodes, optional=bool(mark) or nodes is None, key=key.strip())
