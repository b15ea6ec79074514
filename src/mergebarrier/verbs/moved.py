"""An adapter in the coordinates of a protected model: peft puts it on that, and the two compute what they did before.

    W' = L W R,  s B A added to W    ->    s (L B)(A R) added to W'        stored (in, out): A^T and B^T in their place
    DoRA, rows that stay rows:  m'_j = |row j of L (m / |W + s B A|) (W + s B A) R|
    whole tensors, rows of tokens and biases move as what they stand for does; other kinds of adapters as they say

Source: ours; the factors move as ``symmetry.places`` says.  Differs from training the adapter again: nothing is lost
but one rounding of each factor, and none where orders and signs act alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from mergebarrier.checkpoint import AdaptedCheckpoint, Writer, layout_like
from mergebarrier.checkpoint.bytes import TORCH
from mergebarrier.circuits import describe
from mergebarrier.errors import MethodRefused, clean
from mergebarrier.protect import Prepared
from mergebarrier.symmetry import Way, Ways
from mergebarrier.verbs.folders import OutputOptions, carried, environment, input_of, of_attack
from mergebarrier.verbs.job import adapter_facts

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint, TensorInfo, WeightChange
    from mergebarrier.checkpoint.files import ProtectContent, ProtectFacts

_MERGED = "put it on the model first: protect MODEL+ADAPTER"


def moved_adapter(expert: AdaptedCheckpoint, prepared: Prepared) -> "Sequence[MovedTensor]":
    """Return the tensors of an adapter for the protected form of its base.

    Args:
      expert:   the owner's model with the adapter on it.
      prepared: the protection, as it was prepared for the model without the adapter.
    Raises: MethodRefused where the adapter cannot follow.
    """
    if prepared.stages is None:
        _refuse(expert, "", "the method changes more than coordinates, and no adapter can follow it")
    return list(_Moving(expert, prepared).tensors())


def other_base(model: "Checkpoint", experts: Sequence[AdaptedCheckpoint]) -> list[str]:
    """Return a warning for every adapter that names another base than the model that it is put on."""
    said = [(expert.adapter.name, str(adapter_facts(expert.adapter)["trained_on"])) for expert in experts]
    other = [(name, base) for name, base in said if "/" in base and not base.lower().endswith(f"/{model.name.lower()}")]
    return [f"{name} was trained on {base}, and is put on {model.name}" for name, base in other]


def write_moved(
    expert: AdaptedCheckpoint, tensors: "Sequence[MovedTensor]", content: "ProtectContent", into: OutputOptions
) -> None:
    """Write them.

    Args:
      expert:  as above.
      tensors: from ``moved_adapter``.
      content: of the manifest of the protected model.
      into:    where to.
    Raises: CheckpointError.
    """
    adapter = expert.adapter
    facts: ProtectFacts = {
        "verb": "protect",
        "method": content["method"],
        "parameters": content["parameters"],
        "key_id": content["key_id"],
        "inputs": [*content["inputs"], input_of("adapter", adapter.weights)],
        "roundtrip_bound": content["roundtrip_bound"],
    }
    if of_attack(facts["inputs"]):
        facts["attack-artifact"] = True
    moved = {one.info.name: one for one in tensors}
    layout = [
        replace(one, name=moved[one.name].name, shape=tuple(moved[one.name].tensor.shape))
        for one in layout_like(adapter.weights)
    ]
    writer = Writer.create(
        into.out, layout, plan=dict(facts), inputs=expert.folders, resume=into.resume, overwrite=into.overwrite
    )
    with closing(writer):
        with writer.attempt():
            for one in [] if writer.finished else tensors:
                writer.put(one.name, one.tensor.to(TORCH[one.info.dtype]).contiguous())
                writer.finish(one.name, [one.name])
        side_files = {name: adapter.weights.read_side_file(name) for name in adapter.weights.side_files}
        writer.commit(facts, environment(), carried(facts, side_files), workers=into.workers)


@dataclass(frozen=True, kw_only=True)
class MovedTensor:
    """A tensor of the adapter, its new name, and its new values in float64."""

    info: "TensorInfo"
    name: str
    tensor: "Tensor"


@dataclass(frozen=True, kw_only=True)
class _Along:
    """Several ways one after the other, of a weight seen as (out, in)."""

    way: list[Way]
    transposed: bool

    @property
    def splits(self) -> bool:
        return all(place.splits for place in self.way)

    @property
    def outputs_keep_apart(self) -> bool:
        return all(place.columns_keep_apart if self.transposed else place.rows_keep_apart for place in self.way)

    @property
    def inputs_keep_apart(self) -> bool:
        return all(place.rows_keep_apart if self.transposed else place.columns_keep_apart for place in self.way)

    def outputs(self, x: "Tensor") -> "Tensor":
        for place in self.way:
            x = place.right(x.T).T if self.transposed else place.left(x)
        return x

    def inputs(self, y: "Tensor") -> "Tensor":
        for place in self.way:
            y = place.left(y.T).T if self.transposed else place.right(y)
        return y


class _Moving:
    def __init__(self, expert: AdaptedCheckpoint, prepared: Prepared) -> None:
        self.expert, self.prepared, self.weights = expert, prepared, expert.adapter.weights
        architecture = describe(expert.base)
        self.circuits = {name: circuit for circuit in architecture.circuits for name in circuit.tensors}
        self.known: dict[str, Sequence[Ways]] = {}

    def tensors(self) -> Iterator[MovedTensor]:
        """Yield every tensor of the adapter."""
        left = dict(self.weights.tensors)
        for target, change in self.expert.changes.items():
            for moved in self.change(target, change):
                left.pop(moved.info.name, None)
                yield moved
        adapter = self.expert.adapter
        halves = [info for one in adapter.factors.values() for info in (one.a, one.b, one.magnitude, one.bias) if info]
        loaded = [*adapter.whole.values(), *halves, *(rows.values for rows in adapter.tokens.values())]
        loaded += [info for one in adapter.updates.values() for info in one.parts.values()]
        if odd := next((info for info in loaded if info.name in left), None):
            _refuse(self.expert, odd.name, "it repeats what is done to the embedding that it is tied to")
        for info in left.values():  # copies that peft writes beside what it loads
            yield MovedTensor(info=info, name=info.name, tensor=self.weights.read(info.name))

    def way(self, target: str) -> list[Way]:
        """Return how a tensor of the model moves, stage by stage."""
        circuit = self.circuits.get(target)
        if circuit is None:
            return []
        if circuit.name not in self.known:
            assert self.prepared.stages is not None
            stored = {name: self.expert.base.read(name) for name in circuit.tensors}
            self.known[circuit.name] = self.prepared.stages(circuit, stored)
        way, name = list[Way](), target
        for stage in self.known[circuit.name]:
            if name in stage:
                way.append(stage[name])
                name = stage[name].becomes
        return way

    def change(self, target: str, change: "WeightChange") -> Iterator[MovedTensor]:
        way = self.way(target)
        new = way[-1].becomes if way else target
        if lost := next((place.lost for place in way if place.lost), ""):
            _refuse(self.expert, target, lost)
        if change.whole is not None:
            yield self.moved(change.whole, target, new, self.along(way, self.weights.read(change.whole.name)))
        if change.biased is not None and change.biased.bias is not None:
            yield self.moved(
                change.biased.bias, target, new, self.along(way, self.weights.read(change.biased.bias.name))
            )
        if change.tokens is not None:
            rows = self.weights.read(change.tokens.values.name).double()
            if change.factors is not None or any(not place.splits or not place.keeps_rows for place in way):
                _refuse(self.expert, change.tokens.values.name, "single rows of what the method mixes")
            for place in way:
                rows = place.right(rows)
            yield self.moved(change.tokens.values, target, new, rows)
        if change.factors is not None:
            yield from self.factors(target, new, change, way)
        if change.update is not None:
            yield from self.update(target, new, change, way)

    def factors(self, target: str, new: str, change: "WeightChange", way: list[Way]) -> Iterator[MovedTensor]:
        factors = change.factors
        assert factors is not None
        if way and (factors.odd or not all(place.splits for place in way)):
            _refuse(self.expert, factors.a.name, f"its tensor {clean(target)} is no plain matrix")
        b, a = self.expert.adapter.read(factors.module)
        x, y = (a.T, b.T) if change.transposed else (b, a)
        for place in way:
            x, y = place.left(x), place.right(y)
        b, a = (y.T, x.T) if change.transposed else (x, y)
        yield self.moved(factors.a, target, new, a if way else a.reshape(factors.a.shape))
        yield self.moved(factors.b, target, new, b if way else b.reshape(factors.b.shape))
        if factors.magnitude is not None:
            apart = all(place.columns_keep_apart if change.transposed else place.rows_keep_apart for place in way)
            if not apart:
                what = "DoRA gives every output a length of its own, and the method mixes outputs"
                _refuse(self.expert, factors.magnitude.name, what)
            whole = self.along(way, self.expert.read(target))
            lengths = whole.norm(dim=0 if change.transposed else 1)
            yield self.moved(
                factors.magnitude,
                target,
                new,
                lengths.reshape([-1 if size > 1 else 1 for size in factors.magnitude.shape]),
            )

    def update(self, target: str, new: str, change: "WeightChange", way: list[Way]) -> Iterator[MovedTensor]:
        update, read = change.update, self.weights.read
        assert update is not None
        if target.endswith(".bias"):  # its weight tells
            return
        try:
            moved = update.moved(read, _Along(way=way, transposed=change.transposed)) if way else {}
        except ValueError as fault:
            _refuse(self.expert, update.first.name, str(fault))
        for end, info in update.parts.items():
            yield self.moved(info, target, new, moved[end] if end in moved else read(info.name).double())

    def along(self, way: list[Way], tensor: "Tensor") -> "Tensor":
        tensor = tensor.double()
        for place in way:
            tensor = place.whole(tensor)
        return tensor

    def moved(self, info: "TensorInfo", target: str, new: str, tensor: "Tensor") -> MovedTensor:
        """Return a tensor; experts change places, and so do the names of their updates."""
        before, after = target.rpartition(".")[0], new.rpartition(".")[0]
        if before != after and before not in info.name:
            _refuse(self.expert, info.name, f"{clean(target)} moves to another expert, which the name cannot follow")
        return MovedTensor(
            info=info, name=info.name.replace(before, after) if before != after else info.name, tensor=tensor
        )


def _refuse(expert: AdaptedCheckpoint, tensor: str, what: str) -> NoReturn:
    where = f"{expert.adapter.path}: tensor {clean(tensor)!r}" if tensor else expert.adapter.path
    raise MethodRefused(what, where=where, remedy=_MERGED)
