"""Layers that add nothing: which of a stack are so, whether there can be any, and a model with others in its stack.

    x <- x + f(x),  every matrix and shift with which f writes x is 0    =>    the layer is the identity, bit for bit

Behind a norm of the branch that is so too, as it gives 0 for 0; where the norm takes the sum, as in BERT, no layer is
the identity.  The stack is the first of the table: of two towers the text, of encoder and decoder the encoder.

Source: ours; what single layers are by their number is said again by the laws of ``circuits``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import torch

from mergebarrier.arch import Factor, leaves
from mergebarrier.checkpoint import OutTensor, View, ViewPart
from mergebarrier.checkpoint.bytes import TORCH
from mergebarrier.circuits import Architecture, Circuit, LayerOrigin, Member, entry_at, with_layers
from mergebarrier.errors import MethodRefused
from mergebarrier.symmetry.mlps import role_of

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.symmetry.blocks import Tensors

_KEY: Final = re.compile(r"\w+(\.\w+)?")
#: Counts layers beside the key of the table in some configurations.
_ALSO_COUNTS: Final = "num_hidden_layers"
#: Settings under which the sum takes what the norm gave instead of the stream.
_NORM_TAKES_OVER: Final = ("apply_residual_connection_post_layernorm",)


def layer_of(architecture: Architecture, member: Member) -> str | None:
    """Return the number of a tensor's layer in the first stack, as it stands in its name; None outside."""
    return member.indices.get(next(iter(architecture.table.layers)))


def depth(architecture: Architecture) -> int:
    """Return the number of layers in the first stack."""
    numbers = (layer_of(architecture, member) for circuit in architecture.circuits for member in circuit.members)
    return 1 + max((int(one) for one in numbers if one is not None), default=-1)


def no_identity(architecture: Architecture, config: Mapping[str, object]) -> str:
    """Return why no layer of the first stack can add nothing; "" where one can."""
    inside = [(circuit, member) for circuit in architecture.circuits for member in circuit.members
              if layer_of(architecture, member) is not None]  # fmt: skip
    streams = _streams(architecture)
    kinds = {architecture.table.axes[one].kind for one in streams}
    gains = [leaf for _, member in inside for node in member.nodes for leaf in leaves(node)
             if leaf.axis in streams and not leaf.signed]  # fmt: skip
    read = any(circuit.norm_of(member) is not None for circuit, member in inside)
    if (gains and not read and kinds != {"signed"}) or any(config.get(key) for key in _NORM_TAKES_OVER):
        return "norms of this model take the sum of a layer and its input, so no layer is the identity"
    if depth(architecture) < 2:
        return "a stack of one layer has no place behind its first"
    key = next(iter(architecture.table.layers.values())).partition(" or ")[0]
    return "" if _KEY.fullmatch(key) else "no key of the configuration counts the layers"


def writes(circuit: Circuit, member: Member) -> bool:
    """Say whether a tensor of a layer writes the stream: the last matrix of attention or MLP, or a shift."""
    streams = {name for name, axis in circuit.family.axes.items() if axis.space == "residual" and not axis.scope}
    found = [leaf for node in member.nodes for leaf in leaves(node) if leaf.axis]
    others = [leaf for leaf in found if leaf.axis not in streams and circuit.family.acts(leaf.axis)]
    ours = [leaf for leaf in found if leaf.axis in streams]
    return bool(ours) and all(leaf.signed for leaf in ours) and all(_gives(circuit, member, one) for one in others)


def _gives(circuit: Circuit, member: Member, leaf: Factor) -> bool:
    """Say whether an axis is one that a block gives its results from, or only says which block it is."""
    space = circuit.family.axes[leaf.axis].space
    if space == "neurons":
        return role_of(circuit, member, leaf) == "down"
    return space in ("heads", "experts") or (space == "value_output" and leaf.dual)


def silent_layers(architecture: Architecture, checkpoint: "Checkpoint") -> tuple[int, ...]:
    """Return the layers of the first stack that write nothing but zeros, from the file alone."""
    if no_identity(architecture, checkpoint.config):
        return ()
    heard: dict[int, bool] = dict.fromkeys(range(depth(architecture)), False)
    for circuit in architecture.circuits:
        for member in circuit.members:
            layer = layer_of(architecture, member)
            if layer is not None and not heard[int(layer)] and writes(circuit, member):
                heard[int(layer)] = _is_heard(checkpoint, member.name)
    silent = tuple(layer for layer, one in heard.items() if not one)
    return silent if len(silent) < len(heard) else ()


def _is_heard(checkpoint: "Checkpoint", name: str) -> bool:
    return bool(checkpoint.read_rows(name, 0, 1).any()) or bool(checkpoint.read(name).any())


def _streams(architecture: Architecture) -> list[str]:
    return [name for name, axis in architecture.table.axes.items() if axis.space == "residual" and not axis.scope]


@dataclass(frozen=True, kw_only=True)
class Restacked:
    """A model with other layers in its first stack.

    Attributes:
      architecture: of the model that is there.
      origins:      of every layer that comes out, that which it was.
      silent:       places in it of layers that come out with nothing to say.
      config:       top-level keys of the configuration that say so.
      notes:        about keys that may name layers.
    """

    architecture: Architecture
    origins: Sequence[int]
    silent: frozenset[int]
    config: Mapping[str, object]
    notes: Sequence[str]

    @classmethod
    def of(
        cls,
        checkpoint: "Checkpoint",
        architecture: Architecture,
        origins: Sequence[int],
        *,
        silent: frozenset[int] = frozenset(),
        config: Mapping[str, object] | None = None,
    ) -> "Restacked":
        """Rewrite a configuration, that of the checkpoint by default; ConfigMismatch for a key that cannot say it."""
        config = checkpoint.config if config is None else config
        (_, first), *others = architecture.table.layers.items()
        outer, _, key = first.partition(" or ")[0].rpartition(".")
        table = config[outer] if outer else config
        assert isinstance(table, Mapping)
        n = depth(architecture)
        counts = [key, *([_ALSO_COUNTS] if key != _ALSO_COUNTS and table.get(_ALSO_COUNTS) == n else [])]
        for one, expression in others:  # a stack that is counted with the first where the configuration is silent
            other, _, instead = expression.partition(" or ")
            if instead and other not in table:
                table = {**table, other: 1 + max(int(member.indices[one]) for circuit in architecture.circuits
                                                 for member in circuit.members if one in member.indices)}  # fmt: skip
        rows = [LayerOrigin(config=table, n_layers=n, layer=one) for one in origins]
        changed, notes = with_layers(table, n, rows, counts=counts, where=checkpoint.path / "config.json")
        said = entry_at(config, outer, changed) if outer else changed
        keys = {name: value for name, value in said.items() if name not in config or config[name] != value}
        return cls(architecture=architecture, origins=origins, silent=silent, config=keys, notes=notes)

    def names(self, member: Member) -> Iterator[tuple[str, bool]]:
        """Yield the names that a tensor comes out under, and whether it stands in a layer with nothing to say."""
        layer = layer_of(self.architecture, member)
        if layer is None:
            yield member.name, False
            return
        words = member.name.split(".")
        at = words.index(layer)
        for place, origin in enumerate(self.origins):
            if origin == int(layer):
                yield ".".join([*words[:at], str(place), *words[at + 1 :]]), place in self.silent

    @cached_property
    def _members(self) -> Mapping[str, Member]:
        return {member.name: member for circuit in self.architecture.circuits for member in circuit.members}

    def _becomes(self, stored: str) -> list[str]:
        """Return the names of a tensor of the checkpoint; what no circuit holds keeps its own."""
        return [name for name, _ in self.names(self._members[stored])] if stored in self._members else [stored]

    @cached_property
    def written(self) -> Mapping[str, tuple[str, ...]]:
        """Circuit -> the names that its tensors come out under."""
        return {
            circuit.name: tuple(name for member in circuit.members for name, _ in self.names(member))
            for circuit in self.architecture.circuits
        }

    def layout(self, layout: Sequence[OutTensor], checkpoint: "Checkpoint") -> list[OutTensor]:
        """Return a layout of the model with its tensors as often as they come out; MethodRefused for odd dtypes."""
        found = [replace(one, name=name) for one in layout for name in self._becomes(one.name)]
        stored = checkpoint.tensors
        odd = next((one.name for one in found if one.name in stored and stored[one.name].dtype != one.dtype), None)
        if odd is not None:
            raise MethodRefused("its layers are stored in several dtypes, so none can take another's place",
                                where=f"{checkpoint.path}: {odd}", remedy="store all of them in one dtype")  # fmt: skip
        return found

    def placed(
        self, circuit: Circuit, pieces: "Iterator[tuple[str, Tensor]]", checkpoint: "Checkpoint"
    ) -> "Iterator[tuple[str, Tensor]]":
        """Yield tensors of a circuit under the names that they come out under, in the dtypes that are stored."""
        for name, block in pieces:
            member, rounded = self._members[name], block.to(TORCH[checkpoint.tensors[name].dtype])
            for new, silent in self.names(member):
                yield new, torch.zeros_like(rounded) if silent and writes(circuit, member) else rounded

    def taken(self, circuit: Circuit, tensors: "Tensors") -> "dict[str, Tensor]":
        """Return the tensors of a circuit that come out, under their new names."""
        return {new: tensors[member.name] for member in circuit.members for new, _ in self.names(member)}

    def view(self, checkpoint: "Checkpoint") -> View:
        """Return the checkpoint with the layers that come out, where none comes out twice."""
        parts = {new: ViewPart.of(checkpoint, name) for name in checkpoint.tensors for new in self._becomes(name)}
        return View(checkpoint, parts, {}, {**checkpoint.config, **self.config})
