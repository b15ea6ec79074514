"""What a kind of adapter beside LoRA declares once, in its own file: its names, its keys, and how it changes a matrix.

    make(module, its tensors, those that all share, the configuration) -> Update;     W[i:j] = rows(W_0[i:j], i, j)

Rows are those on disk, a kernel counts as one long row, and all is computed in float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint.bytes import TensorInfo


#: Keys that say which modules and layers are meant, or that modules are stored whole; of most kinds.
MODULES: Final[frozenset[str]] = frozenset(("target_modules", "exclude_modules", "modules_to_save"))
LAYERS: Final[frozenset[str]] = frozenset(("layers_to_transform", "layers_pattern"))
#: Ends of names, without their dots -> the tensors of one module.
Parts: TypeAlias = "Mapping[str, TensorInfo]"
Read: TypeAlias = "Callable[[str], Tensor]"
#: (rows of W_0 from first to last, first, last) -> those of W.
Rows: TypeAlias = "Callable[[Tensor, int, int], Tensor]"


class Settings(Protocol):
    """What the configuration of an adapter says of a module."""

    @property
    def document(self) -> Mapping[str, object]:
        """The whole table."""

    @property
    def alpha(self) -> float:
        """Of modules that no pattern names."""

    def rank(self, module: str) -> int:
        """Return r."""

    def scale(self, module: str) -> float:
        """Return s."""


class Movement(Protocol):
    """How a weight (out, in) moves to other coordinates, W -> L W R, however it is stored."""

    @property
    def splits(self) -> bool:
        """Whether L does not depend on the columns that it meets, nor R on the rows."""

    @property
    def outputs_keep_apart(self) -> bool:
        """Whether every row of L holds one number at most."""

    @property
    def inputs_keep_apart(self) -> bool:
        """Whether every column of R holds one number at most."""

    def outputs(self, x: Tensor) -> Tensor:
        """Return L X."""

    def inputs(self, y: Tensor) -> Tensor:
        """Return Y R."""


@dataclass(frozen=True, kw_only=True)
class Update(ABC):
    """What an adapter does to one module.

    Attributes:
      module: its name in the base.
      parts:  its tensors on disk.
      turns:  its weight may be stored (in, out).
      biased: its bias changes too.
    """

    module: str
    parts: Parts
    turns: ClassVar[bool] = False

    @property
    def biased(self) -> bool:
        """Say whether the bias of the module changes too, as the rows of its weight do."""
        return False

    @property
    def first(self) -> TensorInfo:
        """Return a tensor of it, for messages."""
        return next(iter(self.parts.values()))

    @abstractmethod
    def fits(self, shape: tuple[int, ...]) -> bool:
        """Say whether it is for a weight of shape (out, in) or (out, in, kernel..)."""

    def moved(self, read: Read, movement: Movement) -> dict[str, Tensor]:
        """Return the parts that change in other coordinates, in float64.

        Raises: ValueError that says why there is no such update.
        """
        del read, movement
        raise ValueError("its kind of adapter ties what every module has to the others, or to blocks of its matrix")

    @abstractmethod
    def rows(self, read: Read, shape: tuple[int, ...], *, transposed: bool) -> Rows:
        """Return how rows of a weight, or of a bias, of this shape on disk change; ``transposed`` says (in, out)."""


def _as_made(updates: Sequence[tuple[Update, tuple[int, ...]]]) -> list[Update]:
    return [update for update, _ in updates]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of adapter.

    Attributes:
      name:    its ``peft_type``.
      keys:    of its configuration, beside those of every kind.
      ends:    what follows the name of a module in those of its tensors.
      make:    raises ValueError that says what is wrong; None for a kind that holds no updates.
      shared:  names of tensors that serve every module.
      settled: the updates, with the shapes (out, in) of their weights, as a base completes them.
    """

    name: str
    keys: frozenset[str]
    ends: tuple[str, ...] = ()
    make: Callable[[str, Parts, Parts, Settings], Update] | None = None
    shared: tuple[str, ...] = ()
    settled: Callable[[Sequence[tuple[Update, tuple[int, ...]]]], list[Update]] = _as_made


def need(parts: Parts, *ends: str) -> list[TensorInfo]:
    """Return these tensors of a module.

    Raises: ValueError for one that is missing.
    """
    lacks = [end for end in ends if end not in parts]
    if lacks:
        raise ValueError(f"{lacks[0]} of its module is missing")
    return [parts[end] for end in ends]


def need_rank(rank: int, *sizes: tuple[str, int]) -> None:
    """Raise ValueError unless all sizes are the rank."""
    for end, size in sizes:
        if size != rank:
            raise ValueError(f"{end} has rank {size}, the configuration gives its module {rank}")


def without_factors(moved: Tensor, ones: Tensor) -> Tensor:
    """Return what was moved in the new order alone: divided by what ones become, zero where that is zero."""
    return (moved / ones).where(ones != 0, 0.0)


def flat(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (out, in) of a weight, its kernel as one long row."""
    return shape[0], prod(shape[1:])
