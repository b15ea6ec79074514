"""What a protection is: a pure function from the tensors of one circuit to tensors of the same names and shapes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor

from mergebarrier.arch import Architecture, Circuit
from mergebarrier.symmetry import Stream

Streams = Callable[[str, str], Stream]
Tensors = Mapping[str, Tensor]
Pieces = Iterator[tuple[str, Tensor]]


class Protection(Protocol):
    """A frozen dataclass of hyper-parameters with pure functions; ``streams`` is None for a method without key."""

    name: ClassVar[str]
    keyed: ClassVar[bool]

    def check(self, architecture: Architecture, dtypes: Mapping[str, str]) -> None:
        """Raise MethodRefused before any work when the method does not apply to this model."""
        ...

    def describe(self, architecture: Architecture) -> dict[str, Any]:
        """Return the effective parameters, classes of exactness and reversibility, ready for the manifest."""
        ...

    def apply(self, circuit: Circuit, tensors: dict[str, Tensor], streams: Streams | None) -> Pieces:
        """Protect the logical tensors of one circuit, one after the other, taking each out of ``tensors``.

        Any float dtype in; wider out where a real factor acted.
        """
        ...

    def invert(self, circuit: Circuit, tensors: dict[str, Tensor], streams: Streams | None) -> Pieces:
        """Undo ``apply``."""
        ...
