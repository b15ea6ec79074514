"""What shares an element of an axis: tensors, the circuits that they form, and the elements that act there.

An element that serves the whole model (the residual stream) ties nothing together; every other one does, and so does
a norm with the readers behind it.  A circuit is a connected component, so units of work come out of the table.

The tables name the axes of every tensor as it is stored, so nothing is sliced or transposed on the way into the
mathematics (``CIRCUITS``); on the way out a tensor is rounded once and made contiguous.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.arch import PLACEHOLDER, Axis, Factor, Family, Nodes, TensorLine, leaves

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: An element of an axis: its name, and the values of the placeholders in its scope.
Instance = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A stored tensor in the terms of its line.

    Attributes:
      name:    on disk; ``canonical`` in the spelling of the table.
      line:    of the table.
      indices: placeholder -> index.
    """

    name: str
    canonical: str
    line: TensorLine
    indices: Mapping[str, str]

    @property
    def nodes(self) -> Nodes:
        """One node per stored axis."""
        assert self.line.nodes is not None
        return self.line.nodes

    @property
    def stack(self) -> str:
        """The axis that matrices are stacked along (experts); "" for a tensor that is no such stack."""
        first, *inner = self.nodes
        matrices = len(inner) > 1 and all(any(leaf.axis for leaf in leaves(node)) for node in inner)
        return first.axis if matrices and isinstance(first, Factor) else ""

    @property
    def stem(self) -> str:
        """Canonical name without the last word."""
        return self.canonical.rpartition(".")[0]


def lines_of(table: Family, names: Iterable[str]) -> Iterator[tuple[str, tuple[TensorLine, re.Match[str]] | None]]:
    """Yield every stored name with its line and the match of that; None for a name that the table does not know."""
    templates: dict[str, list[TensorLine]] = {}
    for line in table.lines:
        templates.setdefault(_template(PLACEHOLDER.sub("0", line.name)), []).append(line)
    for stored in names:
        spelled = table.canonical(stored), table.canonical(f"{table.body}{stored}")  # loaders add the body's prefix
        yield stored, next((one for name in spelled for one in _matches(name, templates)), None)


def _matches(
    canonical: str, templates: Mapping[str, Sequence[TensorLine]]
) -> Iterator[tuple[TensorLine, re.Match[str]]]:
    """Yield the lines of a name."""
    for line in templates.get(_template(canonical), ()):
        match = line.pattern.fullmatch(canonical)
        if match is not None:
            yield line, match


def _template(name: str) -> str:
    """Return a name with its numbers taken out."""
    return ".".join("#" if word.isdigit() else word for word in name.split("."))


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """The smallest set of tensors that one symmetry must see together; the unit of work, memory and resuming.

    Attributes:
      name:    "layers.3.attn", or the canonical name of a tensor that stands alone.
      members: its tensors.
      family:  the table; ``sizes`` of its axes; ``rotary`` axis -> rotated entries of a head.
    """

    name: str
    members: tuple[Member, ...]
    family: Family
    sizes: Mapping[str, int]
    rotary: Mapping[str, int]

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names on disk."""
        return tuple(member.name for member in self.members)

    @property
    def kind(self) -> str:
        """Last word of the name: "attn", "mlp", ..."""
        return self.name.rpartition(".")[2]

    #: A gauge acts on what it is given.
    streamed: ClassVar[bool] = False

    @property
    def rowwise(self) -> bool:
        """True when any block of rows may be handled alone: nothing acts on the first stored axis of any tensor."""
        return all(
            len(member.nodes) > 1 and not any(self.family.acts(leaf.axis) for leaf in leaves(member.nodes[0]))
            for member in self.members
        )

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """Every element that acts here, in the order of the table's axes."""
        found = {one: None for member in self.members for one in instances_of(self.family, member)}
        order = list(self.family.axes)
        return tuple(sorted(found, key=lambda one: (order.index(one[0]), one[1])))

    @cached_property
    def batches(self) -> Mapping[Instance, tuple[str, ...]]:
        """Element -> the axes that it is batched over: those of its scope that are no placeholders here."""
        return {
            one: tuple(name for name in self.family.axes[one[0]].scope if name not in member.indices)
            for member in self.members
            for one in instances_of(self.family, member)
        }

    def axis(self, instance: Instance) -> Axis:
        """Return the axis of an element."""
        return self.family.axes[instance[0]]

    def norm_of(self, member: Member) -> Member | None:
        """Return the norm that a member reads the stream through, if it can be folded into its readers."""
        name = self.family.norm_before(member.line).format_map(dict(member.indices))
        return next((one for one in self.members if name and one.canonical == f"{name}.weight"), None)


def instance(family: Family, axis: str, member: Member) -> Instance:
    """Return which element of an axis acts on a member."""
    return axis, tuple(member.indices[name] for name in family.axes[axis].scope if name in member.indices)


def instances_of(family: Family, member: Member) -> tuple[Instance, ...]:
    """Return the elements that act on a member; a placeholder that is an axis too (experts) moves whole tensors."""
    moved = [name for name in member.indices if name in family.axes]
    return tuple(instance(family, axis, member) for axis in (*moved, *member.line.axes) if family.acts(axis))


def circuits_of(
    family: Family, sizes: Mapping[str, int], rotary: Mapping[str, int], members: list[Member]
) -> tuple[Circuit, ...]:
    """Group the members of a model by what they share, in the order of the model."""
    place = {line.name: number for number, line in enumerate(family.lines)}
    first = min((place[line.name] for line in family.lines if PLACEHOLDER.search(line.name)), default=0)

    def depth(member: Member) -> tuple[int, int, int]:
        number = place[member.line.name]
        layers = [int(member.indices[name]) for name in family.layers if name in member.indices]
        return (1, layers[0], number) if layers else (0 if number < first else 2, 0, number)

    groups: dict[object, list[Member]] = {}
    root_of: dict[object, object] = {}
    for member in sorted(members, key=depth):
        ties = _ties(family, member)
        roots = list(dict.fromkeys(root_of[tie] for tie in ties if tie in root_of))
        root = roots[0] if roots else ties[0]
        for other in roots[1:]:
            groups[root] += groups.pop(other)
        if len(roots) > 1:
            root_of |= {tie: root for tie, now in root_of.items() if now in roots[1:]}
        root_of |= dict.fromkeys(ties, root)
        groups.setdefault(root, []).append(member)
    return tuple(
        Circuit(
            name=_name(family, group),
            members=tuple(sorted(group, key=depth)),
            family=family,
            sizes=sizes,
            rotary=rotary,
        )
        for group in sorted(groups.values(), key=lambda group: min(map(depth, group)))
    )


def _ties(family: Family, member: Member) -> list[object]:
    """What ties a member to others: elements of its own layer and where their keys come from, its bias, its norm."""
    local = [one for one in instances_of(family, member) if family.axes[one[0]].scope]
    places = dict.fromkeys(family.axes, "*") | dict(member.indices)
    keyed = [family.axes[axis].stream[0].format_map(places) for axis, _ in local]
    norm = family.norm_before(member.line)
    return [*local, *keyed, member.stem, *([norm.format_map(dict(member.indices))] if norm else [])]


def _name(family: Family, group: list[Member]) -> str:
    """Name a circuit by where its key streams come from; a tensor alone has its own name."""
    for member in group:
        for axis, _ in instances_of(family, member):
            if family.axes[axis].scope:
                label = family.axes[axis].stream[0]
                for name in PLACEHOLDER.findall(label):  # experts that move, or are one tensor, are one circuit
                    if name not in member.indices or (name in family.axes and family.acts(name)):
                        label = label.replace(f".{{{name}}}", "")
                return label.format_map(dict(member.indices))
    return group[0].canonical


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A checkpoint in the terms of its family.

    Attributes:
      table:    the family; ``family`` its name.
      dims:     sizes by the names that people use, and what the model is (rotary, gated, centred).
      circuits: in the order of the model.
      verbatim: names on disk that are copied as they are.
      tied:     whether the head is the embedding.
      stands_for: circuit of polynomials -> canonical names of the stock tensors in whose place it is.
    """

    table: Family
    dims: Mapping[str, int]
    circuits: tuple[Circuit, ...]
    verbatim: tuple[str, ...]
    tied: bool
    stands_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """Name of the table."""
        return self.table.name

    def circuit(self, name: str) -> Circuit:
        """Return the circuit of that name."""
        return next(circuit for circuit in self.circuits if circuit.name == name)

    @property
    def spaces(self) -> frozenset[str]:
        """Spaces in which something can move."""
        return frozenset(circuit.axis(one).space for circuit in self.circuits for one in circuit.instances)

    def axis(self, name: str) -> Axis:
        """Return the declaration of an axis."""
        return self.table.axes[name]

    def has(self, *kinds: str) -> bool:
        """Whether an axis of one of these kinds acts somewhere."""
        return any(circuit.axis(one).kind in kinds for circuit in self.circuits for one in circuit.instances)


@dataclass(frozen=True, kw_only=True)
class Circuits:
    """How a run shows circuits to mathematics.

    Args:
      names: circuit -> its tensors in the output, where those are others than on disk.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def written(self, circuit: Circuit) -> tuple[str, ...]:
        """Return the names that a circuit is written under."""
        return self.names.get(circuit.name, circuit.tensors)

    @staticmethod
    def gather(circuit: Circuit, physical: MutableMapping[str, "Tensor"]) -> MutableMapping[str, "Tensor"]:
        """Return the tensors of a circuit by their names on disk; a table of their own, to be emptied."""
        del circuit
        return physical

    @staticmethod
    def scatter(circuit: Circuit, changed: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
        """Return the tensors ready to be written."""
        del circuit
        return {name: tensor.contiguous() for name, tensor in changed.items()}

    @staticmethod
    def rounded(tensor: "Tensor", dtype: "torch.dtype | None") -> "Tensor":
        """Return a tensor in the dtype that it came in."""
        return tensor if dtype is None else tensor.to(dtype)


CIRCUITS: Final = Circuits()


def spoken(shape: Sequence[int]) -> str:
    """Return a shape in words; a length of 0 is one that nothing says."""
    return f"({', '.join(str(size or 'any') for size in shape)}{',' * (len(shape) == 1)})"
