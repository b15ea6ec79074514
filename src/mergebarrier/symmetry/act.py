"""Act on the tensors of a circuit: one gather and one factor per stored axis, or general maps block by block.

Elements inside others act first, on the original indices: act = heads . (entries of heads) . stream.  Where nothing but
orders, signs and scales act, every stored axis is gathered once and multiplied once; where a general map acts, the
tensor is unfolded to one dimension per axis, each is mapped in float64, and the blocks are folded again.

    new[j, ..] = factor[j] old[perm[j], ..]         new[b, :, ..] = M_b old[b, :, ..]
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from mergebarrier.arch import Circuit, Concat, Factor, Instance, Member, Node, fold, instance, leaves, size_of, unfold
from mergebarrier.symmetry.elements import Element, LinearMap, Monomial, Planes

Elements = Mapping[Instance, Element]

# So many elements are widened at once.
_BLOCK_ELEMENTS = 1 << 18
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def act_each(circuit: Circuit, elements: Elements, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Act on one tensor after the other, taking each out of ``tensors`` where no other needs it.

    Args:
      circuit:  from ``describe``.
      elements: of some instances of the circuit; the others are the identity.
      tensors:  name on disk -> tensor; of a rowwise circuit any block of rows.
    Returns: (name, tensor): of the dtype that came in where only orders, signs and (16-bit) scales act, else float64.
    """
    moves = {axis for axis, _ in elements if axis in _placeholders(circuit)}
    for member in circuit.members:
        if member.name in tensors:
            source = _source(circuit, elements, member) if moves else member
            tensor = tensors[source.name] if moves else tensors.pop(member.name)
            yield member.name, act_on(circuit, elements, source, tensor)


def act_on(circuit: Circuit, elements: Elements, member: Member, tensor: Tensor) -> Tensor:
    """Act on one tensor with the elements that touch it; one that nothing touches is returned as it is."""
    acting = _Acting(circuit, member, elements)
    if not acting.by_factor:
        return tensor
    if all(isinstance(one, Monomial) for one in acting.by_factor.values()):
        return _gathered(acting, member.nodes, tensor)
    moved = iter([_mapped(acting, factors, view) for factors, view in unfold(tensor, member.nodes, circuit.sizes)])
    return fold(lambda: next(moved), member.nodes)


class _Acting:
    """The elements that act on one tensor, by factor, as they act there: marks and side taken into account."""

    def __init__(self, circuit: Circuit, member: Member, elements: Elements) -> None:
        self.circuit, self.member = circuit, member
        self.by_factor: dict[Factor, Monomial | LinearMap] = {}
        self.batch: dict[str, tuple[str, ...]] = {}
        for factor in dict.fromkeys(leaf for node in member.nodes for leaf in leaves(node) if leaf.axis):
            if not circuit.family.acts(factor.axis):
                continue
            key = instance(circuit.family, factor.axis, member)
            self.batch[factor.axis] = circuit.batches[key]
            if key in elements and not elements[key].is_identity():
                self.by_factor[factor] = seen(elements[key], factor, scaled=circuit.axis(key).kind == "glu")

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
        return Monomial(plain.perm, torch.ones_like(plain.factor))
    return plain


def _placeholders(circuit: Circuit) -> set[str]:
    return {name for member in circuit.members for name in member.indices if name in circuit.family.axes}


def _source(circuit: Circuit, elements: Elements, member: Member) -> Member:
    """Return the member whose tensor comes to stand under the name of this one: experts move as a whole."""
    indices = dict(member.indices)
    for axis in [name for name in indices if name in circuit.family.axes]:
        element = elements.get(instance(circuit.family, axis, member))
        if isinstance(element, Monomial):
            indices[axis] = str(int(element.perm[0, int(indices[axis])]))
    return next(one for one in circuit.members if one.line is member.line and one.indices == indices)


# --- orders, signs, scales -----------------------------------------------------------------------------------------


def _gathered(acting: _Acting, nodes: tuple[Node, ...], tensor: Tensor, outer: Mapping[str, int] = {}) -> Tensor:
    first, rest = nodes[0], nodes[1:]
    if isinstance(first, Factor) and first.axis and any(acting.depends(node, first.axis) for node in rest):
        # A stack: what acts inside depends on the entry, so entries are handled one by one.
        index, _ = _index(acting, first, outer, tensor.shape[0])
        order = range(tensor.shape[0]) if index is None else index.tolist()
        return torch.stack([_gathered(acting, rest, tensor[old], {**outer, first.axis: old}) for old in order])
    moved, owned = tensor, False
    for place, node in enumerate(nodes):
        index, factor = _index(acting, node, outer, tensor.shape[place])
        if index is not None:
            moved, owned = take(moved, place, index), True
        if factor is not None:
            shape = [-1 if other == place else 1 for other in range(tensor.dim())]
            moved, owned = scaled(moved if owned else moved.clone(), factor.reshape(shape)), True
    return moved


def _index(acting: _Acting, node: Node, outer: Mapping[str, int], size: int) -> tuple[Tensor | None, Tensor | None]:
    """Return order and factors of a stored axis; None for what does not move."""
    if not any(leaf in acting.by_factor for leaf in leaves(node)):
        return None, None
    perm, factor = _expanded(acting, node, outer, size)
    moves = not bool((perm == torch.arange(size)).all())
    return (perm if moves else None), (None if bool((factor == 1).all()) else factor)


def _expanded(acting: _Acting, node: Node, outer: Mapping[str, int], size: int) -> tuple[Tensor, Tensor]:
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


def take(tensor: Tensor, place: int, index: Tensor) -> Tensor:
    """Return a float tensor with the entries of one dimension in another order.

    ``numpy.take`` on the bit patterns is three times as fast here as torch's ``index_select`` along rows.
    """
    if tensor.dim() != 2 or place == 0:
        return tensor.index_select(place, index)
    if not tensor.is_contiguous() and tensor.T.is_contiguous():
        return tensor.T.index_select(0, index).T
    moved = torch.empty_like(tensor, memory_format=torch.contiguous_format)
    bits = _BITS[tensor.element_size()]
    # "clip" takes no buffer of its own; no index of a permutation is ever clipped.
    np.take(tensor.contiguous().view(bits).numpy(), index.numpy(), axis=1, out=moved.view(bits).numpy(), mode="clip")
    return moved


def scaled(tensor: Tensor, factor: Tensor) -> Tensor:
    """Multiply a tensor that is ours by a float64 factor that broadcasts.

    Signs are flipped by their bits, zeros included.  Scales of 16-bit weights multiply in float32, block by block and
    in place, exact enough to be rounded once; wider weights give float64.
    """
    if bool((factor.abs() == 1).all()):
        bits = _BITS[tensor.element_size()]
        tensor.view(bits).bitwise_xor_((factor < 0).to(bits) << (8 * tensor.element_size() - 1))
        return tensor
    if tensor.element_size() > 2:
        return tensor.double() * factor
    step = max(1, _BLOCK_ELEMENTS // max(1, tensor[0].numel()))
    factors = factor.float().expand(tensor.shape)
    for rows, scale in zip(tensor.split(step), factors.split(step), strict=True):
        rows.copy_(rows.float().mul_(scale))
    return tensor


# --- general maps --------------------------------------------------------------------------------------------------


def _mapped(acting: _Acting, factors: tuple[Factor, ...], view: Tensor) -> Tensor:
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
            flat = _product(element.forward, flat)
        else:
            flat = flat.gather(1, element.perm[..., None].expand(flat.shape))
            if not bool((element.factor == 1).all()):
                flat = flat.double() * element.factor[..., None]
        back = [order.index(other) for other in range(view.dim())]
        view = flat.reshape(moved.shape).permute(back)
    return view


def _product(forward: Tensor, flat: Tensor) -> Tensor:
    """Return forward @ flat in float64, widening a few columns at a time."""
    out = torch.empty(flat.shape, dtype=torch.float64)
    step = max(1, _BLOCK_ELEMENTS // max(1, flat.shape[0] * flat.shape[1]))
    for columns, into in zip(flat.split(step, dim=2), out.split(step, dim=2), strict=True):
        into.copy_(forward @ columns.double())
    return out
