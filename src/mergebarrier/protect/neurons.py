"""What every neuron of a wider MLP is made of, and how tensors grow and shrink by it.

    gate' = a gate[i] + b gate[k]      up' = up[i] + c up[k]      down' = e down[i]

    share (1, 0, 0, 1/n)    split (1, 0, +-1, 1/n)    sign (-1, 0, c, e), (2, 0, c, e/2), (-2, 0, c, -e/2)
    decoys (3/4, 3/4, 0, +-1)

Source: ours, see ``widen``.  Key heads are repeated, which leaves what a query head meets as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mergebarrier import symmetry
from mergebarrier.arch import Factor, leaves
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.arch import Node
    from mergebarrier.circuits import Circuit, Member
    from mergebarrier.symmetry import Role, Stream

#: Gates of a decoy are mixed of two real ones, with about their norm.
_MIXED: Final = 0.75


@dataclass(frozen=True, kw_only=True, eq=False)
class WideNeurons:
    """What every neuron of the wide model is made of.

    Attributes:
      source, other: neurons of the narrow model, Int64[Tensor, "wide"].
      gate, mixed:   gate = gate * gate[source] + mixed * gate[other].
      added:         up = up[source] + added * up[other].
      down:          down = down * down[source].
      first, count:  for every neuron of the narrow model the first that shares it, and how many in a row do.
    """

    source: "Tensor"
    other: "Tensor"
    gate: "Tensor"
    mixed: "Tensor"
    added: "Tensor"
    down: "Tensor"
    first: "Tensor"
    count: "Tensor"

    @classmethod
    def drawn(cls, stream: "Stream", narrow: int, wide: int, *, gated: bool, signs: bool) -> "WideNeurons":
        """Draw which neurons are shared, split and negated, and where decoys stand."""
        import numpy as np

        order, partner = symmetry.permutation(stream, narrow), symmetry.permutation(stream, narrow)
        eighth = (wide - narrow) // 8
        negated = order[narrow - min(narrow, eighth) :] if signs else order[:0]
        decoys = np.resize(order, eighth)
        copies = wide - narrow - 2 * len(negated) - 2 * len(decoys)
        count = np.full(narrow, 1 + copies // narrow)
        count[order[: copies % narrow]] += 1
        first = np.cumsum(count) - count
        source = np.repeat(np.arange(narrow), count)
        number = np.arange(len(source)) - first[source]
        paired = number // 2 * 2 + 1 < count[source]
        added = np.where(paired & (partner[source] % 2 == 1) & gated, 1.0 - 2.0 * (number % 2), 0.0)
        down, gate = 1.0 / count[source], np.ones(len(source))
        turned = first[negated]
        gate[turned] = -1.0
        twice, both = np.repeat(turned, 2), np.resize([1.0, -1.0], 2 * len(turned))
        false = np.repeat(decoys, 2)
        source_all = np.concatenate([source, source[twice], false])
        nothing, sides = np.zeros(len(false)), np.resize([1.0, -1.0], len(false))
        columns = {
            "source": source_all,
            "other": partner[source_all],
            "gate": np.concatenate([gate, 2.0 * both, nothing + _MIXED]),
            "mixed": np.concatenate([0.0 * gate, 0.0 * both, nothing + _MIXED]),
            "added": np.concatenate([added, added[twice], nothing]),
            "down": np.concatenate([down, down[twice] * both / 2.0, sides]),
            "first": first,
            "count": count,
        }
        return cls(**{name: torch.from_numpy(column) for name, column in columns.items()})

    def grown(self, role: "Role", tensor: "Tensor", place: int) -> "Tensor":
        """Return a block with the neurons of the wide model."""
        source = tensor.index_select(place, self.source)
        if role == "down":
            return source * _along(self.down, place, tensor)
        other, mixed = tensor.index_select(place, self.other), self.added if role == "up" else self.mixed
        own = source if role == "up" else source * _along(self.gate, place, tensor)
        return own + other * _along(mixed, place, tensor)

    def shrunk(self, role: "Role", tensor: "Tensor", place: int) -> "Tensor":
        """Return a block with the neurons of the narrow model."""
        first = tensor.index_select(place, self.first)
        if role == "down":
            return first / _along(self.down[self.first], place, tensor)
        if role == "gate":
            return first * _along(self.gate[self.first], place, tensor)
        shared = int(self.count.sum())
        total = torch.zeros_like(first).index_add_(place, self.source[:shared], tensor.narrow(place, 0, shared))
        return total / _along(self.count, place, tensor)


def _along(values: "Tensor", place: int, tensor: "Tensor") -> "Tensor":
    return values.to(tensor.dtype).reshape([-1 if other == place else 1 for other in range(tensor.dim())])


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Grows or shrinks the blocks of a circuit, whose axes have ``sizes`` before that."""

    circuit: "Circuit"
    plans: Mapping[str, WideNeurons]
    sizes: Mapping[str, int]
    key_heads: int
    grows: bool

    def __call__(self, member: "Member", tensor: "Tensor") -> "Tensor":
        """Return a tensor of other sizes, in wider numbers where anything was added; or itself."""
        groups = symmetry.groups_of(self.circuit) if self.key_heads > 1 else None
        if not {*self.plans, *(groups or ())[:1]} & set(member.line.axes):
            return tensor
        tensor = tensor.to(torch.float32 if tensor.element_size() < 4 else torch.float64)
        pieces = [
            self._block(member, factors, view, groups)
            for factors, view in symmetry.unfold(tensor, member.nodes, self.sizes)
        ]
        return symmetry.fold(iter(pieces).__next__, member.nodes)

    def _block(
        self, member: "Member", factors: tuple[Factor, ...], view: "Tensor", groups: tuple[str, str] | None
    ) -> "Tensor":
        axes = [factor.axis for factor in factors]
        for place, factor in enumerate(factors):
            if factor.axis in self.plans:
                plan, role = self.plans[factor.axis], symmetry.role_of(self.circuit, member, factor)
                view = plan.grown(role, view, place) if self.grows else plan.shrunk(role, view, place)
            elif groups is not None and factor.axis == groups[0] and groups[1] not in axes:
                copies = self.key_heads
                view = (view.repeat_interleave(copies, place) if self.grows
                        else view.index_select(place, torch.arange(0, view.shape[place], copies)))  # fmt: skip
        return view


@dataclass(frozen=True, kw_only=True, eq=False)
class Grown:
    """How a tensor grows: every axis on its own, so both factors of an update can."""

    resize: Resize
    member: "Member"
    lost: str = ""

    @property
    def becomes(self) -> str:
        """Its name, which stays."""
        return self.member.name

    @property
    def splits(self) -> bool:
        """Whether it is a matrix."""
        return len(self.member.nodes) == 2

    @property
    def rows_keep_apart(self) -> bool:
        """Whether no neuron among the rows takes anything from another."""
        return self._apart(0)

    @property
    def columns_keep_apart(self) -> bool:
        """Whether no neuron among the columns takes anything from another."""
        return self._apart(1)

    @property
    def keeps_rows(self) -> bool:
        """Whether rows are no neurons and belong to no key head that is repeated."""
        groups = symmetry.groups_of(self.resize.circuit) if self.resize.key_heads > 1 else None
        return not {*self.resize.plans, *(groups or ())[:1]} & {leaf.axis for leaf in leaves(self.member.nodes[0])}

    def whole(self, tensor: "Tensor") -> "Tensor":
        """Return it wider, in float64."""
        return self.resize(self.member, tensor.double())

    def left(self, x: "Tensor") -> "Tensor":
        """Return L X."""
        return self._along((self.member.nodes[0], Factor(size=x.shape[1])), x)

    def right(self, y: "Tensor") -> "Tensor":
        """Return Y R."""
        return self._along((Factor(size=y.shape[0]), self.member.nodes[1]), y)

    def _along(self, nodes: "tuple[Node, ...]", tensor: "Tensor") -> "Tensor":
        return self.resize(symmetry.of_axes(self.member, nodes), tensor.double())

    def _apart(self, place: int) -> bool:
        circuit, plans = self.resize.circuit, self.resize.plans
        mixed = {"gate": "mixed", "up": "added"}
        taken = [
            getattr(plans[leaf.axis], mixed[role])
            for leaf in leaves(self.member.nodes[place])
            if leaf.axis in plans and (role := symmetry.role_of(circuit, self.member, leaf)) in mixed
        ]
        return not any(bool(one.any()) for one in taken)
