"""A gauge is one element per space and circuit; this file knows the spaces of each circuit and their order.

The residual stream, whose one element all circuits share, acts on the other axis than all else and commutes with it; it
goes first, while numbers are as narrow as they are stored.  Then query/key and value/output on the original head
indices, and the order of heads last; or neurons.

    act = heads . value_output . query_key . residual   (attention)        act = neurons . residual   (MLP)
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mergebarrier.arch import Circuit, Dims
from mergebarrier.symmetry.draw import Stream
from mergebarrier.symmetry.heads import HeadOrder, Heads
from mergebarrier.symmetry.linear import LinearMap, SignedPermutation
from mergebarrier.symmetry.neurons import NeuronMap, Neurons
from mergebarrier.symmetry.query_key import QueryKeyLinear, QueryKeyPlanes
from mergebarrier.symmetry.residual import Residual
from mergebarrier.symmetry.space import Space, Tensors
from mergebarrier.symmetry.value_output import ValueOutput

RESIDUAL = "residual"
Elements = dict[str, Any]


def residual_space(dims: Dims) -> Residual:
    """Return the space of the residual stream of a model."""
    return Residual(dims.hidden, dims.centred)


def spaces(circuit: Circuit) -> dict[str, Space]:
    """Return the spaces of a circuit by name, in the order in which they act."""
    dims = circuit.dims
    heads = (dims.n_heads, dims.n_kv_heads, dims.head_dim)
    inner: dict[str, Space] = {}
    if circuit.kind == "attn":
        inner = {
            "query_key": QueryKeyPlanes(*heads) if dims.rotary else QueryKeyLinear(*heads),
            "value_output": ValueOutput(*heads),
            "heads": Heads(*heads),
        }
    elif circuit.kind == "mlp":
        inner = {"neurons": Neurons(dims.mlp_width, dims.gated)}
    return {RESIDUAL: residual_space(dims)} | inner


def sample(
    circuit: Circuit,
    streams: Callable[[str, str], Stream],
    *,
    only: frozenset[str],
    profile: str,
    condition: float,
) -> Elements:
    """Draw the elements of one circuit for the spaces named in ``only``.

    Args:
      circuit:   from ``describe``.
      streams:   (circuit, purpose) -> byte stream; the residual is drawn under the circuit name "residual", so that
        every circuit finds the same element.
      only:      names of spaces.
      profile:   "lossless" or "full".
      condition: largest condition number of a real map.

    Returns: space name -> element, in acting order.
    """
    drawn = {}
    for name, space in spaces(circuit).items():
        if name in only:
            stream_of = partial(streams, RESIDUAL if name == RESIDUAL else circuit.name)
            drawn[name] = space.sample(stream_of, profile=profile, condition=condition)
    return drawn


def act_each(circuit: Circuit, elements: Elements, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Act on one logical tensor after the other, taking each out of ``tensors``: none is held twice for long."""
    order = spaces(circuit)
    return _each([(order[name], elements[name]) for name in order if name in elements], tensors)


def act_inverse_each(circuit: Circuit, elements: Elements, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Undo ``act_each``: inverses in reverse order, but for the residual, which commutes and again goes first."""
    order = spaces(circuit)
    names = (RESIDUAL, *reversed([name for name in order if name != RESIDUAL]))
    steps = [(order[name], order[name].inverse(elements[name])) for name in names if name in elements]
    return _each(steps, tensors)


def _each(steps: list[tuple[Space, Any]], tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name in list(tensors):
        moved = {name: tensors.pop(name)}
        for space, element in steps:
            moved = space.act(element, moved)
        yield name, moved.pop(name)


def act(circuit: Circuit, elements: Elements, tensors: Tensors) -> dict[str, Tensor]:
    """Act with elements on the logical tensors of a circuit, one space after the other."""
    return dict(act_each(circuit, elements, dict(tensors)))


def act_inverse(circuit: Circuit, elements: Elements, tensors: Tensors) -> dict[str, Tensor]:
    """Undo ``act``."""
    return dict(act_inverse_each(circuit, elements, dict(tensors)))


def bit_exact(circuit: Circuit, elements: Elements) -> bool:
    """True when the elements round nothing."""
    return all(spaces(circuit)[name].bit_exact(element) for name, element in elements.items())


@dataclass(frozen=True)
class Gauge:
    """Elements of a whole model: circuit name -> space name -> element."""

    elements: Mapping[str, Elements]

    def to_tensors(self) -> dict[str, Tensor]:
        """Return named tensors ("layers.0.attn/value_output/SignedPermutation/perm"), ready to be stored."""
        return {
            f"{circuit}/{space}/{key}": tensor
            for circuit, elements in self.elements.items()
            for space, element in elements.items()
            for key, tensor in _element_tensors(element).items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Gauge":
        """Rebuild a gauge from ``to_tensors``."""
        kinds = {kind.__name__: kind for kind in (SignedPermutation, LinearMap, HeadOrder, NeuronMap)}
        grouped: dict[str, dict[str, dict[str, dict[str, Tensor]]]] = {}
        for name, tensor in tensors.items():
            circuit, space, kind, part = name.split("/")
            grouped.setdefault(circuit, {}).setdefault(space, {}).setdefault(kind, {})[part] = tensor
        return cls(
            {
                circuit: {
                    space: torch.view_as_complex(parts["z"]) if kind == "Planes" else kinds[kind](**parts)
                    for space, by_kind in of_circuit.items()
                    for kind, parts in by_kind.items()
                }
                for circuit, of_circuit in grouped.items()
            }
        )


def _element_tensors(element: Any) -> dict[str, Tensor]:
    if isinstance(element, Tensor):
        return {"Planes/z": torch.view_as_real(element)}
    return {f"{type(element).__name__}/{field.name}": getattr(element, field.name) for field in fields(element)}
