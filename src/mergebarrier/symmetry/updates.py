"""A low-rank update seen from other coordinates: its factors move as the two stored axes of its tensor do.

    stored update = X Y,  X (rows, r),  Y (r, columns);        g . (X Y) = (L X) (Y R)   with g . W = L W R

Source: ours; a gauge is linear in every tensor, and what acts on one axis of a matrix does not look at the other.
Differs from moving the product and cutting it to rank r again: nothing is decomposed, orders and signs round nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from mergebarrier.arch import Factor, Node, leaves
from mergebarrier.circuits import Circuit, Member
from mergebarrier.symmetry.act import Acting, Elements, destinations, moved


class Way(Protocol):
    """How a tensor moves, linearly: W -> L W R, in float64."""

    @property
    def becomes(self) -> str:
        """The name that it comes to stand under."""
        ...

    @property
    def lost(self) -> str:
        """Why another tensor in its place would not be used as it is; "" where it would."""
        ...

    @property
    def splits(self) -> bool:
        """Whether it is a matrix, and what acts on one of its axes does not depend on the other."""
        ...

    @property
    def rows_keep_apart(self) -> bool:
        """Whether every row that comes out is one row that went in, with a factor at most."""
        ...

    @property
    def columns_keep_apart(self) -> bool:
        """Whether every column that comes out is one column that went in, with a factor at most."""
        ...

    @property
    def keeps_rows(self) -> bool:
        """Whether rows stay where they are and as they are."""
        ...

    def whole(self, tensor: Tensor) -> Tensor:
        """Move a tensor of its shape."""
        ...

    def left(self, x: Tensor) -> Tensor:
        """Return L X."""
        ...

    def right(self, y: Tensor) -> Tensor:
        """Return Y R."""
        ...


#: Name of a tensor of a circuit -> how it moves; what is not there stays.
Ways: TypeAlias = Mapping[str, Way]


@dataclass(frozen=True, kw_only=True)
class MovedName:
    """A tensor of a circuit as elements move it.

    Attributes:
      member:  the tensor.
      becomes: the name that it comes to stand under.
    """

    circuit: Circuit
    elements: Elements
    member: Member
    becomes: str
    lost: str = ""

    @property
    def splits(self) -> bool:
        """Whether it is a matrix, and what acts on one of its axes does not depend on the other."""
        nodes, acting = self.member.nodes, Acting(self.circuit, self.member, self.elements)
        if len(nodes) != 2:
            return False
        around = ((leaf.axis, inner) for outer, inner in (nodes, nodes[::-1]) for leaf in leaves(outer) if leaf.axis)
        return not any(acting.depends(inner, axis) for axis, inner in around)

    @property
    def rows_keep_apart(self) -> bool:
        """Whether every row that comes out is one row that went in, with a factor at most."""
        return self._orders(self.member.nodes[0])

    @property
    def columns_keep_apart(self) -> bool:
        """Whether every column that comes out is one column that went in, with a factor at most."""
        return self._orders(self.member.nodes[1])

    @property
    def keeps_rows(self) -> bool:
        """Whether rows stay where they are and as they are."""
        return not self._acting((self.member.nodes[0],)).by_factor

    def whole(self, tensor: Tensor) -> Tensor:
        """Move a tensor of the member's shape, in float64."""
        return self._along(self.member.nodes, tensor)

    def left(self, x: Tensor) -> Tensor:
        """Return L X in float64."""
        return self._along((self.member.nodes[0], Factor(size=x.shape[1])), x)

    def right(self, y: Tensor) -> Tensor:
        """Return Y R in float64."""
        return self._along((Factor(size=y.shape[0]), self.member.nodes[1]), y)

    def _orders(self, node: Node) -> bool:
        return self._acting((node,)).only_orders

    def _along(self, nodes: tuple[Node, ...], tensor: Tensor) -> Tensor:
        return moved(self._acting(nodes), tensor.to(torch.float64))

    def _acting(self, nodes: tuple[Node, ...]) -> Acting:
        return Acting(self.circuit, of_axes(self.member, nodes), self.elements)


def of_axes(member: Member, nodes: tuple[Node, ...]) -> Member:
    """Return a tensor with other stored axes, such as those of one factor of its update."""
    return replace(member, line=replace(member.line, nodes=nodes))


def ways(circuit: Circuit, elements: Elements) -> Ways:
    """Return where and how elements move every tensor of a circuit that a table describes."""
    return {
        member.name: MovedName(circuit=circuit, elements=elements, member=member, becomes=becomes)
        for becomes, member in destinations(circuit, elements)
        if member.line.nodes is not None
    }
