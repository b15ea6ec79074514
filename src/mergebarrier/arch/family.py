"""A family of checkpoints as data: its axes, one line per tensor, its spellings, and what else only it knows.

    tensors = {"model.layers.{i}.self_attn.q_proj.weight": "(g r q) d", ...}
    a line may end in "?" (all layers have the tensor, or none), in "? any" (each layer may), or in "? key" (all layers
    have it if that key of the configuration is true)

A table is checked when it is made: every axis that a line names exists, scopes can be met, marks make sense.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from mergebarrier.arch.axes import VERBATIM, Axis, Nodes, leaves, parse
from mergebarrier.errors import BadTable

#: Key of a line that each layer may have or lack.
ANY = "any"
PLACEHOLDER = re.compile(r"\{(\w)\}")


_HEAD = re.compile(
    r"(?P<what>family|part) (?P<name>\w+)(?: of (?P<types>[\w -]+))?(?: \((?P<has>[^)]*)\))?"
    r"(?: with (?P<words>[^:]*))?(?::(?P<classes>.*))?"
)
#: Longest line of a table.
LONGEST: Final = 400


#: (where it stands, what it says) of every line.
Numbered = Iterator[tuple[str, str]]


class TableFault(ValueError):
    """A contradiction within a table; ``name`` is that of the line at fault."""

    def __init__(self, what: str, name: str) -> None:
        """Say what is wrong, and where."""
        self.name = name
        super().__init__(what)


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
      places:        name of a line -> where it stands; "" for the first line.
      example:       (where it stands, arguments of a tiny model's configuration), both as text.
    Raises: TableFault for a table that contradicts itself.
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
    places: Mapping[str, str] = field(default_factory=dict)
    example: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Look for contradictions, without a weight."""
        for name, what in self._contradictions():
            raise TableFault(f"{self.name}: {what}", name)

    def _contradictions(self) -> Iterator[tuple[str, str]]:
        for line in self.lines:
            placeholders = PLACEHOLDER.findall(line.name)
            odd = [name for name in placeholders if name not in self.layers and name not in self.axes]
            if odd:
                yield line.name, f"nothing says how many {odd[0]!r} of {line.name} there are"
            for axis in line.axes:
                if axis not in self.axes:
                    yield line.name, f"{line.name} names the axis {axis!r}, which is not declared"
                lacking = [name for name in self.axes[axis].scope if name not in {*placeholders, *line.axes}]
                if lacking:
                    yield line.name, f"an element of {axis!r} depends on {lacking[0]!r}, which {line.name} lacks"
        for norm, readers in self.folds.items():
            for name in (norm, *readers):
                if not {f"{name}.weight", name} & self.tensors.keys():
                    yield norm, f"{norm} is read by {name}, which is no line" if name != norm else f"{norm} is no line"

    @cached_property
    def lines(self) -> tuple[TensorLine, ...]:
        """The lines, parsed."""
        return tuple(tensor_line(name, text) for name, text in self.tensors.items())

    def acts(self, axis: str) -> bool:
        """Whether anything acts on an axis; "" is an axis that nothing acts on."""
        return bool(axis) and self.axes[axis].kind != "fixed"

    def norm_before(self, line: TensorLine) -> str:
        """Return the norm in front of a reader, without ".weight"; "" for none, as for biases."""
        return self._norms.get(line.name.removesuffix(".weight"), "")

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


def tensor_line(name: str, text: str) -> TensorLine:
    """Return a name and the expression behind it as a line; ValueError for one that cannot be read."""
    expression, mark, key = text.partition("?")
    nodes = None if expression.strip() == VERBATIM else parse(expression.strip())
    return TensorLine(name=name, nodes=nodes, optional=bool(mark) or nodes is None, key=key.strip())


def numbered(text: str, where: str = "mergebarrier", first: int = 1) -> Numbered:
    """Yield (place, line) of tables, without comments and empty lines; a line that ends in a backslash goes on."""
    before = ""
    for number, line in enumerate(text.splitlines(), first):
        at, code = f"{where}:{number}", re.sub(r"(^| ) *#.*", "", line).rstrip()
        whole = before + (code.lstrip() if before else code)
        if len(whole) > LONGEST or "\t" in whole:
            what = f"the line holds a tab, or more than {LONGEST} characters"
            raise BadTable(what, where=at, remedy="write spaces, and shorter lines")
        before = whole[:-1] if whole.endswith("\\") else ""
        if whole and not before:
            yield at, whole


@dataclass(frozen=True, kw_only=True)
class TableBlock:
    """A family or a part: its first line, where that stands, and (place, line) of those below."""

    head: re.Match[str]
    at: str
    lines: list[tuple[str, str]] = field(default_factory=list)


ReadTable = Callable[[TableBlock, Mapping[str, TableBlock]], Family]


class FamilyTexts(Mapping[str, Family]):
    """Name -> family, read when it is first asked for; ``read`` holds those that were."""

    def __init__(self, read_table: ReadTable, *texts: Numbered, parts: Mapping[str, TableBlock] | None = None) -> None:
        """Find where tables and parts begin, BadTable for a line that belongs to none; nothing else is read yet."""
        self._read_table = read_table
        self._parts, self._families = dict(parts or {}), dict[str, TableBlock]()
        self.read: dict[str, Family] = {}
        for text in texts:
            block = None
            for at, line in text:
                if block is not None and line.startswith(" "):
                    block.lines.append((at, line))
                    continue
                head = _HEAD.fullmatch(line)
                kind = self._families if head and head["what"] == "family" else self._parts
                if head is None or (kind is self._families and head["name"] in kind):
                    what = "this is no first line of a family or part" if head is None else "the name stands twice"
                    raise BadTable(what, where=at, remedy="write `family NAME: CLASS`, and indent all of it")
                block = kind[head["name"]] = TableBlock(head=head, at=at)

    def beside(self, *texts: Numbered) -> "FamilyTexts":
        """Return the families of other texts, which may use the parts of these."""
        return FamilyTexts(self._read_table, *texts, parts=self._parts)

    def __getitem__(self, name: str) -> Family:
        """Return a family; BadTable, with the line, for a text that is not in the language."""
        if name not in self.read:
            self.read[name] = self._read_table(self._families[name], self._parts)
        return self.read[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names, in the order of the texts."""
        return iter(self._families)

    def __len__(self) -> int:
        """Count the families."""
        return len(self._families)

    def of_type(self, model_type: object) -> list[Family]:
        """Return the families of a ``model_type``, and read no other."""
        found = self._families.items()
        return [self[name] for name, block in found if model_type in (block.head["types"] or name).split()]
