"""What a protection is: a pure function from the tensors of one circuit to tensors of the same names and shapes."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor

from mergebarrier.arch import Architecture, Circuit
from mergebarrier.symmetry.draw import Stream

Streams = Callable[[str, str], Stream]
Tensors = Mapping[str, Tensor]


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

    def apply(self, circuit: Circuit, tensors: Tensors, streams: Streams | None) -> dict[str, Tensor]:
        """Protect the logical tensors of one circuit (any float dtype in; float64 out where a real factor acted)."""
        ...

    def invert(self, circuit: Circuit, tensors: Tensors, streams: Streams | None) -> dict[str, Tensor]:
        """Undo ``apply``."""
        ...


def round_to(tensors: Tensors, like: Tensors) -> dict[str, Tensor]:
    """Round each tensor once to the dtype of its namesake; a value that leaves its range is refused by the writer."""
    return {name: tensor.to(like[name].dtype) for name, tensor in tensors.items()}
