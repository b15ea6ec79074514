"""A gauge of a circuit is one element per axis; this file undoes gauges, chains them, and says what they are.

Elements inside others act on the original indices, so the inverse must know where the outer ones have put things:

    (P . w)^-1  acts as  P^-1 after  w_inv[j] = w[p[j]]^-1           (P an order of heads or experts, w inside)
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from mergebarrier.circuits import Circuit, Instance
from mergebarrier.lazy import OnDemand
from mergebarrier.symmetry.act import Elements, act_each, act_entry, act_one
from mergebarrier.symmetry.elements import Element, LinearMap, Monomial, Planes, compose


def act(circuit: Circuit, elements: Elements, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Act on the tensors of a circuit."""
    return dict(act_each(circuit, elements, dict(tensors)))


def act_inverse(circuit: Circuit, elements: Elements, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo ``act``."""
    return act(circuit, inverted(circuit, elements), tensors)


class Reverted(OnDemand[Tensor]):
    """The tensors of a circuit with elements undone, each when it is asked for; nothing is kept.

    Args:
      circuit:  from ``describe``.
      elements: that acted.
      tensors:  of all members that there are.
    """

    def __init__(self, circuit: Circuit, elements: Elements, tensors: Mapping[str, Tensor]) -> None:
        """Invert the elements."""
        super().__init__(tensors)
        self._circuit, self._back, self._tensors = circuit, inverted(circuit, elements), tensors

    def __getitem__(self, name: str) -> Tensor:
        """Return one tensor, undone."""
        return act_one(self._circuit, self._back, self._tensors, name)

    def entry(self, name: str, number: int) -> Tensor:
        """Return one index of the first dimension of a tensor, undone."""
        return act_entry(self._circuit, self._back, self._tensors, name, number)


def inverted(circuit: Circuit, elements: Elements) -> dict[Instance, Element]:
    """Return the elements that undo these."""
    return {one: picked(found, _places(circuit, one, elements)).inverse() for one, found in _moved(circuit, elements)}


def composed(circuit: Circuit, after: Elements, before: Elements) -> dict[Instance, Element]:
    """Return the elements that act as ``before``, then ``after``; both name the same elements."""
    undone = inverted(circuit, before)
    later = {one: picked(found, _places(circuit, one, undone)) for one, found in _moved(circuit, after, undone)}
    return {one: compose(later[one], before[one]) for one in before}


def bit_exact(elements: Elements) -> bool:
    """True when the elements round nothing."""
    return all(element.bit_exact for element in elements.values())


def _moved(circuit: Circuit, elements: Elements, orders: Elements | None = None) -> Iterator[tuple[Instance, Element]]:
    """Yield every element under the instance that it is found at once whole tensors (experts) have moved."""
    orders = elements if orders is None else orders
    for one in circuit.instances:
        origin = _origin(circuit, one, orders)
        if origin in elements:
            yield one, elements[origin]


def _origin(circuit: Circuit, one: Instance, orders: Elements) -> Instance:
    """Return the instance whose tensors stand where this one's stood, given orders of placeholders."""
    names = [name for name in circuit.axis(one).scope if name not in circuit.batches[one]]
    values = dict(zip(names, one[1], strict=True))
    for name in [name for name in names if name in circuit.family.axes]:
        scope = circuit.family.axes[name].scope
        element = orders.get((name, tuple(values[outer] for outer in scope if outer in values)))
        if isinstance(element, Monomial):
            values[name] = str(int(element.perm[0, int(values[name])]))
    return one[0], tuple(values[name] for name in names)


def _places(circuit: Circuit, one: Instance, orders: Elements) -> Tensor | None:
    """Return, for every batch entry as things stand now, which entry it was; None where nothing around it moves."""
    batch = circuit.batches[one]
    if not batch:
        return None
    names = [name for name in circuit.axis(one).scope if name not in batch]
    values = dict(zip(names, one[1], strict=True))
    place = torch.zeros(1, dtype=torch.int64)
    for name in batch:
        size, scope = circuit.sizes[name], circuit.family.axes[name].scope
        element = orders.get((name, tuple(values[outer] for outer in scope if outer in values)))
        if isinstance(element, Monomial):
            inside = element.perm if len(element.perm) == len(place) else element.perm[:1].expand(len(place), size)
            perm = inside[place] if len(element.perm) > 1 else inside
        else:
            perm = torch.arange(size).expand(len(place), size)
        place = (place[:, None] * size + perm).reshape(-1)
    return place


def picked(element: Element, places: Tensor | None) -> Element:
    """Return the batch entries of an element in another order; None for the order that they have."""
    if places is None:
        return element
    if isinstance(element, Monomial):
        return Monomial(element.perm[places], element.factor[places])
    if isinstance(element, LinearMap):
        return LinearMap(element.forward[places], element.backward[places])
    rest = None if element.rest is None else picked(element.rest, places)
    assert not isinstance(rest, Planes)
    return Planes(element.z[places], rest, element.pairs)
