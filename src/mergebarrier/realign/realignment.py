"""What an attack on a protection by realignment is: fit once against an anchor, then act circuit by circuit.

``fit`` looks at the protected model and the anchor (the public base, or any unprotected relative) and returns a
``Fitted``; its ``apply`` maps the tensors of one circuit into the anchor's coordinates.  No data, no training, no key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import Field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from mergebarrier import symmetry
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import OnDemand, torch

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint, OutputFolder
    from mergebarrier.circuits import Architecture, Circuit, Member
    from mergebarrier.symmetry import Elements, Tensors

_T = TypeVar("_T")
_R = TypeVar("_R")


class ParallelMap(Protocol):
    """The built-in ``map`` over one sequence, or one that shares the work among threads."""

    def __call__(self, function: Callable[[_T], _R], items: Iterable[_T], /) -> Iterable[_R]:
        """Yield what ``function`` returns for every item, in order."""
        ...


# Rows of an embedding that are held at once while correlations are summed, and runs that a sample is made of.
BLOCK_ROWS = 8192
_RUNS = 8
# Elements of a tensor that are multiplied at once.
_BLOCK_ELEMENTS = 1 << 18


class Fitted(Protocol):
    """A fitted realignment."""

    @property
    def diagnostics(self) -> dict[str, object]:
        """Return what the fit found, ready for JSON."""
        ...

    @property
    def output(self) -> OutputFolder:
        """Return what else than values of tensors changes."""
        ...

    def apply(
        self, circuit: Circuit, tensors: MutableMapping[str, Tensor], anchor: Tensors
    ) -> Mapping[str, Tensor] | Iterator[tuple[str, Tensor]]:
        """Return tensors in the anchor's coordinates, at once or row after row; rowwise circuits may come in blocks."""
        ...


class Realignment(Protocol):
    """A frozen, keyword-only dataclass of declared hyper-parameters with ``fit``.

    Attributes:
      name:               on the command line.
      preserves_function: the result computes what the model computed.
      needs_base:         whether it looks at the anchor; without, the file alone is enough.
    """

    name: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    preserves_function: ClassVar[bool]
    needs_base: ClassVar[bool]

    @property
    def label(self) -> str:
        """Return the name for people, which distinguishes variants."""
        ...

    @property
    def about(self) -> str:
        """Say in a few words what sets it apart."""
        ...

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> Fitted:
        """Fit ``model`` to ``anchor``; ``parallel`` maps a function over circuits, results in order."""
        ...


def check_stock(architecture: Architecture, model: Checkpoint) -> None:
    """Raise MethodRefused for a model whose feed-forward networks are polynomials: nothing lines up with a base."""
    if architecture.stands_for:
        raise MethodRefused("its feed-forward networks are polynomials", where=model.path,
                            remedy="use --method poly_invert first, and realign what comes out")  # fmt: skip


def read(circuit: Circuit, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the tensors of a circuit."""
    return {name: checkpoint.read(name) for name in circuit.tensors}


class _Stored(OnDemand["Tensor"]):
    """The tensors of a circuit as they lie on the disk, read whenever they are looked at."""

    def __init__(self, circuit: Circuit, checkpoint: Checkpoint) -> None:
        """Read nothing."""
        super().__init__(circuit.tensors)
        self._checkpoint = checkpoint

    def __getitem__(self, name: str) -> Tensor:
        """Read one tensor."""
        return self._checkpoint.read(name)

    def entry(self, name: str, number: int) -> Tensor:
        """Read one index of the first dimension of a tensor."""
        return self._checkpoint.read_rows(name, number, number + 1)[0]


class Aligned(OnDemand["Tensor"]):
    """The tensors of a circuit with elements undone, in the stored dtype.

    They are held in memory; stacks of experts are not, of which every entry is read and moved when it is looked at.
    """

    def __init__(self, circuit: Circuit, elements: Elements, checkpoint: Checkpoint) -> None:
        """Read what is no stack."""
        super().__init__(circuit.tensors)
        self._stacks = symmetry.Reverted(circuit, elements, _Stored(circuit, checkpoint))
        still = {member.name: checkpoint.read(member.name) for member in circuit.members if not member.stack}
        self._held = dict(symmetry.act_each(circuit, symmetry.inverted(circuit, elements), still))

    def __getitem__(self, name: str) -> Tensor:
        """Return one tensor."""
        return self._held[name] if name in self._held else self._stacks[name]

    def entry(self, name: str, number: int) -> Tensor:
        """Return one index of the first dimension of a tensor."""
        return self._held[name][number] if name in self._held else self._stacks.entry(name, number)


def pieces(circuit: Circuit, member: Member, *views: Tensors) -> Iterator[tuple[Tensor, ...]]:
    """Yield a tensor of several tables: whole, or a stack of experts entry by entry."""
    if not member.stack:
        yield tuple(view[member.name] for view in views)
        return
    for number in range(circuit.sizes[member.stack]):
        yield tuple(symmetry.entry_of(view, member.name, number) for view in views)


def row_blocks(circuit: Circuit, checkpoint: Checkpoint, limit: int | None = None) -> Iterator[dict[str, Tensor]]:
    """Yield a rowwise circuit in blocks of rows, or ``limit`` rows in runs spread over it; any other whole."""
    if not circuit.rowwise or len(circuit.tensors) > 1:
        yield read(circuit, checkpoint)
        return
    (name,) = circuit.tensors
    n_rows = checkpoint.tensors[name].shape[0]
    if limit is not None and n_rows > limit:
        run, step = limit // _RUNS, n_rows // _RUNS
        runs = [checkpoint.read_rows(name, n * step, n * step + run) for n in range(_RUNS)]
        yield {name: torch.cat(runs)}
        return
    for start in range(0, n_rows, BLOCK_ROWS):
        yield {name: checkpoint.read_rows(name, start, min(start + BLOCK_ROWS, n_rows))}


class Folded(OnDemand["Tensor"]):
    """The matrices of a circuit in a form that no trade of gains changes, each when it is asked for, float32.

    W <- W diag(gain) of the norm in front of it.  Vectors are as they are: nothing is estimated from them.
    """

    def __init__(self, circuit: Circuit, tensors: Tensors) -> None:
        """Find the readers of every norm."""
        super().__init__(tensors)
        self._tensors, self._offset = tensors, circuit.family.offset
        self._gains: dict[str, tuple[str, int]] = {}
        for member in circuit.members:
            norm = circuit.norm_of(member)
            if norm is not None:
                self._gains[member.name] = norm.name, symmetry.stream_place(member, norm)

    def __getitem__(self, name: str) -> Tensor:
        """Return one tensor."""
        return self._folded(name, self._tensors[name], 0)

    def entry(self, name: str, number: int) -> Tensor:
        """Return one index of the first dimension of a tensor."""
        return self._folded(name, symmetry.entry_of(self._tensors, name, number), 1)

    def _folded(self, name: str, tensor: Tensor, before: int) -> Tensor:
        """Multiply a tensor, or what is left of it behind so many dimensions."""
        if name not in self._gains:
            return tensor.float()
        norm, place = self._gains[name]
        return tensor * broadcast(self._tensors[norm].float() + self._offset, place - before, tensor.dim())


def norms(circuit: Circuit) -> list[Member]:
    """Return the norms of a circuit that can be folded into their readers."""
    found = [circuit.norm_of(member) for member in circuit.members]
    return list({norm.canonical: norm for norm in found if norm is not None}.values())


def broadcast(vector: Tensor, place: int, dimensions: int) -> Tensor:
    """Return a vector that multiplies one dimension of a tensor."""
    return vector.reshape([-1 if other == place else 1 for other in range(dimensions)])


def cosines(circuit: Circuit, anchor: Tensors, *views: Tensors) -> list[float]:
    """Return the cosine of each view with the anchor, all matrices taken as one vector; 0 when either is silent."""
    dots, sizes = [0.0] * len(views), [0.0] * len(views)
    energy = 0.0
    for member in circuit.members:
        if len(member.nodes) < 2 or member.name not in anchor:
            continue
        for then, *others in pieces(circuit, member, anchor, *views):
            energy += _dot(then, then)
            for place, now in enumerate(others):
                dots[place] += _dot(now, then)
                sizes[place] += _dot(now, now)
    return [
        dot / (size * energy) ** 0.5 if size and energy else 0.0 for dot, size in zip(dots, sizes, strict=True)
    ]  # fmt: skip


def _dot(one: Tensor, other: Tensor) -> float:
    pairs = zip(
        one.float().reshape(-1).split(_BLOCK_ELEMENTS), other.float().reshape(-1).split(_BLOCK_ELEMENTS), strict=True
    )
    return sum(float((a * b).sum()) for a, b in pairs)
