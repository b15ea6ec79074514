"""Act on the tensors of a circuit: one gather and one factor per stored axis, or general maps block by block.

Elements inside others act first, on the original indices: act = heads . (entries of heads) . stream.  Where nothing but
orders, signs and scales act, every stored axis is gathered once and multiplied once; where a general map acts, the
tensor is unfolded to one dimension per axis, each is mapped in float64, and the blocks are folded again.

    new[j, ..] = factor[j] old[perm[j], ..]         new[b, :, ..] = M_b old[b, :, ..]
"""

from collections.abc import Callable, Container, Iterator, Mapping, MutableMapping
from functools import partial
from math import prod

import numpy as np
import torch
from torch import Tensor

from mergebarrier.arch import Concat, Factor, Node, Nodes, leaves, size_of
from mergebarrier.circuits import Circuit, Instance, Member, instance
from mergebarrier.symmetry.blocks import ByEntry, entry_of, fold, unfold
from mergebarrier.symmetry.elements import (
    BLOCK_ELEMENTS,
    AxisFactors,
    Element,
    LinearMap,
    Monomial,
    Planes,
    product,
    take,
)

Elements = Mapping[Instance, Element]

# Entries of a stack (experts) are moved one by one where they are at least so large.
_STACK_ELEMENTS = 1 << 14


def act_each(circuit: Circuit, elements: Elements, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Act on one tensor after the other, taking each out of ``tensors``.

    Args:
      circuit:  from ``describe``.
      elements: of some instances of the circuit; the others are the identity.
      tensors:  name on disk -> tensor; of a rowwise circuit any block of rows.
    Returns: (name, tensor): of the dtype that came in where only orders, signs and (16-bit) scales act, else float64.
    """
    for member, source in _sources(circuit, elements, tensors):
        tensor = tensors.pop(source.name)
        yield member.name, moved(Acting(circuit, source, elements), tensor)


def act_one(circuit: Circuit, elements: Elements, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """Return what comes to stand under one name, as ``act_each`` does; tensors stay where they are."""
    ((_, source),) = _sources(circuit, elements, [name])
    tensor = tensors[source.name]
    return moved(Acting(circuit, source, elements), tensor)


def act_entry(circuit: Circuit, elements: Elements, tensors: Mapping[str, Tensor], name: str, number: int) -> Tensor:
    """Return one index of the first dimension of what comes to stand under one name, as ``act_one`` does."""
    ((_, source),) = _sources(circuit, elements, [name])
    acting = Acting(circuit, source, elements)
    first, *rest = source.nodes
    if not isinstance(first, Factor) or not acting.only_orders:
        return act_one(circuit, elements, tensors, name)[number]
    index, _ = _index(acting, first, {}, size_of(first, circuit.sizes))
    old = number if index is None else int(index[number])
    tensor = entry_of(tensors, source.name, old)
    return _filled(_gathered(acting, tuple(rest), tensor, {first.axis: old}), tensor.shape)


def act_rows(
    circuit: Circuit, elements: Elements, tensors: MutableMapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Act as ``act_each`` does, and yield (name, rows): blocks of rows from the first to the last, or all of them.

    A stack of experts is read and moved expert by expert where ``tensors`` can do so (``ByEntry``).
    """
    for member, source in _sources(circuit, elements, tensors):
        acting = Acting(circuit, source, elements)
        size, *inner = (size_of(node, circuit.sizes) for node in source.nodes)
        if isinstance(tensors, ByEntry) and acting.is_stack(source.nodes, prod(inner)) and acting.only_orders:
            pieces = _stack(acting, source.nodes, partial(tensors.entry, source.name), size, {})
        else:
            pieces = _pieces(acting, tensors.pop(source.name))
        for rows in pieces:
            yield member.name, rows


class Acting:
    """The elements that act on one tensor, by factor, as they act there: marks and side taken into account."""

    def __init__(self, circuit: Circuit, member: Member, elements: Elements) -> None:
        """Look up what acts on a member's axes."""
        self.circuit, self.member = circuit, member
        self.by_factor: dict[Factor, Monomial | LinearMap] = {}
        self.batch: dict[str, tuple[str, ...]] = {}
        for factor in dict.fromkeys(leaf for node in member.nodes for leaf in leaves(node) if leaf.axis):
            if not circuit.family.acts(factor.axis):
                continue
            key = instance(circuit.family, factor.axis, member)
            self.batch[factor.axis] = circuit.batches[key]
            if key in elements and not elements[key].is_identity():
                found = seen(elements[key], factor, scaled=circuit.axis(key).kind == "glu")
                if isinstance(found, Monomial) or factor.signed:  # gains of one stay, and no others may be rotated
                    self.by_factor[factor] = found

    @property
    def only_orders(self) -> bool:
        """Whether nothing but orders, signs and scales act."""
        return all(isinstance(one, Monomial) for one in self.by_factor.values())

    def is_stack(self, nodes: Nodes, entry_elements: int) -> bool:
        """Whether entries of the first axis go one by one: what acts inside depends on them, or they are large."""
        first, rest = nodes[0], nodes[1:]
        if not isinstance(first, Factor) or not first.axis or not rest:
            return False
        large = len(rest) > 1 and entry_elements >= _STACK_ELEMENTS
        return large or any(self.depends(node, first.axis) for node in rest)

    def entry(self, axis: str, outer: Mapping[str, int]) -> int:
        """Return the batch entry of an element, given old indices of the axes around it."""
        number = 0
        for name in self.batch[axis]:
            number = number * self.circuit.sizes[name] + outer[name]
        return number

    def depends(self, node: Node, axis: str) -> bool:
        """Whether an element inside a node differs between the entries of ``axis``."""
        return any(leaf in self.by_factor and axis in self.batch[leaf.axis] for leaf in leaves(node))


def seen(element: Element, factor: Factor, *, scaled: bool) -> Monomial | LinearMap:
    """Return an element as a factor of an expression sees it; ``scaled`` for an axis whose factors need the mark ^."""
    side = element.contragredient if factor.dual else element
    plain = side.plain() if isinstance(side, Planes) else side
    if isinstance(plain, Monomial) and not (factor.scaled if scaled else factor.signed):
        return plain.unsigned
    return plain


def destinations(circuit: Circuit, elements: Elements) -> Iterator[tuple[str, Member]]:
    """Yield every name of a circuit, and the member whose tensor comes to stand under it."""
    for member, source in _sources(circuit, elements, circuit.tensors):
        yield member.name, source


def moved(acting: Acting, tensor: Tensor) -> Tensor:
    """Return one tensor as elements move it."""
    return _filled(_pieces(acting, tensor), tensor.shape)


def _sources(circuit: Circuit, elements: Elements, tensors: Container[str]) -> Iterator[tuple[Member, Member]]:
    """Yield every member that is there, and the member whose tensor comes to stand under its name."""
    placeholders = {name for member in circuit.members for name in member.indices if name in circuit.family.axes}
    moves = any(axis in placeholders for axis, _ in elements)
    for member in [member for member in circuit.members if member.name in tensors]:
        yield member, _source(circuit, elements, member) if moves else member


def _source(circuit: Circuit, elements: Elements, member: Member) -> Member:
    """Return the member whose tensor comes to stand under the name of this one: experts move as a whole."""
    indices = dict(member.indices)
    for axis in [name for name in indices if name in circuit.family.axes]:
        element = elements.get(instance(circuit.family, axis, member))
        if isinstance(element, Monomial):
            indices[axis] = str(int(element.perm[0, int(indices[axis])]))
    return next(one for one in circuit.members if one.line is member.line and one.indices == indices)


# --- orders, signs, scales -----------------------------------------------------------------------------------------


def _pieces(acting: Acting, tensor: Tensor) -> Iterator[Tensor]:
    """Yield the rows of a tensor in blocks as the elements move them; one that nothing touches as it is."""
    nodes = acting.member.nodes
    if not acting.by_factor:
        yield tensor
    elif acting.only_orders:
        yield from _gathered(acting, nodes, tensor, {})
    else:
        moved = iter([_mapped(acting, factors, view) for factors, view in unfold(tensor, nodes, acting.circuit.sizes)])
        yield fold(lambda: next(moved), nodes)


def _filled(pieces: Iterator[Tensor], shape: torch.Size) -> Tensor:
    """Return blocks of rows as one tensor."""
    first = next(pieces)
    if first.shape == shape:
        return first
    whole, start = first.new_empty(shape), len(first)
    whole[:start] = first
    for rows in pieces:
        whole[start : start + len(rows)] = rows
        start += len(rows)
    return whole


def _stack(
    acting: Acting, nodes: Nodes, entry: Callable[[int], Tensor], size: int, outer: Mapping[str, int]
) -> Iterator[Tensor]:
    """Yield the entries of a stack in their new order, each moved inside."""
    first = nodes[0]
    assert isinstance(first, Factor)
    index, _ = _index(acting, first, outer, size)
    for old in range(size) if index is None else index.tolist():
        tensor = entry(old)
        yield _filled(_gathered(acting, nodes[1:], tensor, {**outer, first.axis: old}), tensor.shape)[None]


def _gathered(acting: Acting, nodes: Nodes, tensor: Tensor, outer: Mapping[str, int]) -> Iterator[Tensor]:
    if acting.is_stack(nodes, prod(tensor.shape[1:])):
        yield from _stack(acting, nodes, tensor.__getitem__, len(tensor), outer)
        return
    moves = [_index(acting, node, outer, size) for node, size in zip(nodes, tensor.shape, strict=True)]
    if all(index is None and factor is None for index, factor in moves):
        yield tensor
        return
    factors = [None if factor is None else AxisFactors(factor, tensor.element_size()) for _, factor in moves]
    step = max(1, BLOCK_ELEMENTS // max(1, prod(tensor.shape[1:])))
    for start in range(0, len(tensor), step):
        rows, order = slice(start, start + step), moves[0][0]
        block = tensor[rows] if order is None else tensor.index_select(0, order[rows])
        for place, (index, _) in enumerate(moves):
            block = take(block, place, index) if place and index is not None else block
        for place, factor in enumerate(factors):
            if factor is not None:
                block = block.clone() if block.data_ptr() == tensor[rows].data_ptr() else block
                block = factor.scaled(block, place, rows if place == 0 else slice(None))
        yield block


def _index(acting: Acting, node: Node, outer: Mapping[str, int], size: int) -> tuple[Tensor | None, Tensor | None]:
    """Return order and factors of a stored axis; None for what does not move."""
    found = [acting.by_factor[leaf] for leaf in leaves(node) if leaf in acting.by_factor]
    moves = [one.moves for one in found if isinstance(one, Monomial)]
    if not moves:
        return None, None
    perm, factor = _expanded(acting, node, outer, size)
    order, values = map(any, zip(*moves, strict=True))
    return (perm if order else None), (factor if values else None)


def _expanded(acting: Acting, node: Node, outer: Mapping[str, int], size: int) -> tuple[Tensor, Tensor]:
    sizes = acting.circuit.sizes
    if isinstance(node, Factor):
        element = acting.by_factor.get(node)
        if element is None:
            return torch.arange(size), torch.ones(size, dtype=torch.float64)
        assert isinstance(element, Monomial)
        entry = acting.entry(node.axis, outer)
        return element.perm[entry], element.factor[entry]
    if isinstance(node, Concat):
        widths = [size_of(part, sizes) for part in node.parts]
        pairs = [_expanded(acting, part, outer, width) for part, width in zip(node.parts, widths, strict=True)]
        starts = np.cumsum([0, *widths[:-1]]).tolist()
        perms = [perm + start for (perm, _), start in zip(pairs, starts, strict=True)]
        return torch.cat(perms), torch.cat([factor for _, factor in pairs])
    head, *tail = node.factors
    if not tail:
        return _expanded(acting, head, outer, size)
    n = size_of(head, sizes)
    inner_node, width = type(node)(tuple(tail)), size // n
    perm, factor = _expanded(acting, head, outer, n)
    axis = head.axis if isinstance(head, Factor) else ""
    if axis and acting.depends(inner_node, axis):
        inner = [_expanded(acting, inner_node, {**outer, axis: old}, width) for old in perm.tolist()]
        inner_perm, inner_factor = (torch.stack(side) for side in zip(*inner, strict=True))
    else:
        inner_perm, inner_factor = _expanded(acting, inner_node, outer, width)
    return (perm[:, None] * width + inner_perm).reshape(-1), (factor[:, None] * inner_factor).reshape(-1)


# --- general maps --------------------------------------------------------------------------------------------------


def _mapped(acting: Acting, factors: tuple[Factor, ...], view: Tensor) -> Tensor:
    """Map every dimension of a block, what lies inside first."""
    axes = [factor.axis for factor in factors]
    places = [place for place, factor in enumerate(factors) if factor in acting.by_factor]
    for place in sorted(places, key=lambda place: -len(acting.batch[axes[place]])):
        element, batch = acting.by_factor[factors[place]], acting.batch[axes[place]]
        first = [*(axes.index(name) for name in batch), place]
        order = [*first, *(other for other in range(view.dim()) if other not in first)]
        moved = view.permute(order)
        flat = moved.reshape(-1 if batch else 1, view.shape[place], moved[(0,) * len(first)].numel())
        if isinstance(element, LinearMap):
            flat = product(element.forward, flat)
        else:
            flat = flat.gather(1, element.perm[..., None].expand(flat.shape))
            if not bool((element.factor == 1).all()):
                flat = flat.double() * element.factor[..., None]
        back = [order.index(other) for other in range(view.dim())]
        view = flat.reshape(moved.shape).permute(back)
    return view
