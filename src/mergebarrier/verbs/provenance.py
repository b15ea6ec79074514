"""``provenance relate``: two checkpoints brought into a form in which they can be compared, layer by layer.

    rows that correspond: those of tokens that both tokenizers know, or of equal numbers where no tokenizer says more
    layers that may correspond: those of equal number;  where depths differ, those that dropped or added layers allow

Weights are read once, a layer at a time; no more than some rows of an embedding are held.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.checkpoint.bytes import TORCH
from mergebarrier.circuits import Architecture, Circuit, describe
from mergebarrier.errors import BadRecipe, NotComparable
from mergebarrier.merge.vocabulary import read_vocabulary
from mergebarrier.progress import Progress
from mergebarrier.provenance import (
    ComparedLayer,
    NeuronLayer,
    Relatedness,
    RelateOptions,
    RowProducts,
    layer_of,
    layered,
    main_stream,
    neuron_tensors,
    relate,
    rows_of,
    vocabulary_of,
)

#: Most rows of an embedding that are compared, evenly spread, and rows that are read at once.
_MOST_ROWS = 32768
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class _Compared:
    """One model, its main stream, and the circuits with neurons."""

    checkpoint: Checkpoint
    architecture: Architecture
    stream: str
    circuits: tuple[Circuit, ...]

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "_Compared":
        architecture = describe(checkpoint)
        stream = main_stream(architecture)
        return cls(checkpoint, architecture, stream, tuple(layered(architecture, stream)))

    @property
    def width(self) -> int:
        return self.circuits[0].sizes[self.stream]

    @property
    def centred(self) -> bool:
        axis = self.architecture.axis(self.stream)
        return axis.kind == "centred"

    def layer(self, circuit: Circuit) -> Callable[[], NeuronLayer]:
        """Return what reads a layer when it is looked at."""

        def read() -> NeuronLayer:
            tensors = {name: self.checkpoint.read(name) for name in neuron_tensors(circuit, self.stream)}
            return layer_of(circuit, tensors, self.stream)

        return read


def relate_models(
    first: Checkpoint, second: Checkpoint, options: RelateOptions, progress: Progress | None = None
) -> Relatedness:
    """Test whether two models are related.

    Raises: NotComparable when their neurons are of different kinds or one has none; ArchError, CheckpointError.
    """
    ours, theirs = _Compared.of(first), _Compared.of(second)
    for side in (ours, theirs):
        if not side.circuits:
            raise NotComparable("no layer of this model has neurons that the tables know", where=side.checkpoint.path,
                                remedy="compare language models or encoders with MLPs")  # fmt: skip
    kinds = [len(side.layer(side.circuits[0])().held) for side in (ours, theirs)]
    if kinds[0] != kinds[1]:
        raise NotComparable(
            f"{ours.architecture.family} and {theirs.architecture.family} have different kinds of neurons",
            where=second.path,
            remedy="compare models whose MLPs are both gated, or both plain",
        )
    return relate(
        _row_products(ours, theirs),
        list(_places(ours, theirs)),
        (ours.width, theirs.width),
        centred=ours.centred and theirs.centred,
        options=options,
        progress=progress or (lambda done, total: None),
    )


def _places(ours: _Compared, theirs: _Compared) -> Iterator[ComparedLayer]:
    """Yield every layer of the first model with the layers of the second that it may be."""
    count, others = len(ours.circuits), len(theirs.circuits)
    for place, circuit in enumerate(ours.circuits):
        low, high = place - max(0, count - others), place + max(0, others - count)
        band = theirs.circuits[max(0, low) : min(others, high + 1)]
        yield ComparedLayer(
            name=circuit.name, first=ours.layer(circuit), seconds=tuple(theirs.layer(one) for one in band)
        )  # fmt: skip


def _row_products(ours: _Compared, theirs: _Compared) -> RowProducts | None:
    """Sum over the rows that correspond, None where there are fewer than the streams are wide."""
    found = []
    for side in (ours, theirs):
        sizes = {name: info.numel for name, info in side.checkpoint.tensors.items()}
        member = vocabulary_of(side.architecture, side.stream, sizes)
        if member is None or sizes[member.name] < side.width**2:
            return None
        found.append(member)
    shapes = [
        (side.checkpoint.tensors[member.name].numel // side.width)
        for side, member in zip((ours, theirs), found, strict=True)
    ]
    pairs = _common_rows(ours.checkpoint, theirs.checkpoint, shapes[0], shapes[1])
    if len(pairs) < min(ours.width, theirs.width):
        return None
    if len(pairs) > _MOST_ROWS:
        pairs = pairs[torch.arange(_MOST_ROWS) * len(pairs) // _MOST_ROWS]
    rows = []
    for number, (side, member) in enumerate(zip((ours, theirs), found, strict=True)):
        last = getattr(member.nodes[-1], "axis", "") == side.stream and len(member.nodes) == 2
        wanted = pairs[:, number]
        if last:
            read = _gathered(side.checkpoint, member.name, wanted)
            rows.append(rows_of(member, read, side.stream, centred=side.centred))
        else:
            whole = rows_of(member, side.checkpoint.read(member.name), side.stream, centred=side.centred)
            rows.append(whole[wanted])
    return RowProducts.of(*rows)


def _common_rows(first: Checkpoint, second: Checkpoint, rows: int, others: int) -> Tensor:
    """Return rows that stand for the same token, Int64[Tensor, "n 2"]."""
    try:
        ours, theirs = read_vocabulary(first), read_vocabulary(second)
    except BadRecipe:  # a broken tokenizer says nothing
        ours = theirs = None
    if ours is None or theirs is None or ours.ids == theirs.ids:
        return torch.arange(min(rows, others))[:, None].expand(-1, 2)
    pairs = sorted(
        (number, theirs.ids[token]) for token, number in ours.ids.items()
        if number < rows and theirs.ids.get(token, others) < others
    )  # fmt: skip
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def _gathered(checkpoint: Checkpoint, name: str, wanted: Tensor) -> Tensor:
    """Return rows of a matrix in its stored dtype, read a block at a time and put where they belong."""
    info = checkpoint.tensors[name]
    found = torch.empty(len(wanted), *info.shape[1:], dtype=TORCH[info.dtype])
    for start in range(0, info.shape[0], _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, info.shape[0])
        inside = ((wanted >= start) & (wanted < stop)).nonzero()[:, 0]
        if len(inside):
            found[inside] = checkpoint.read_rows(name, start, stop)[wanted[inside] - start]
    return found
