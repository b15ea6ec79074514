"""What an attack on a protection by realignment is: fit once against an anchor, then act circuit by circuit.

``fit`` looks at the protected model and the anchor (the public base, or any unprotected relative) and returns a
``Fitted``; its ``apply`` maps the tensors of one circuit into the anchor's coordinates.  No data, no training, no key.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor

from mergebarrier.arch import LOGICAL, Architecture, Circuit, gather
from mergebarrier.checkpoint import Checkpoint

Tensors = Mapping[str, Tensor]
ParallelMap = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

# Rows of an embedding that are held at once while correlations are summed.
BLOCK_ROWS = 8192


class Fitted(Protocol):
    """A fitted realignment."""

    @property
    def diagnostics(self) -> dict[str, Any]:
        """Return what the fit found, ready for JSON."""
        ...

    def apply(self, circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
        """Return logical tensors in the anchor's coordinates; row blocks are fine where the circuit is rowwise."""
        ...


class Realignment(Protocol):
    """A frozen dataclass of hyper-parameters with ``fit``."""

    name: ClassVar[str]
    preserves_function: ClassVar[bool]

    @property
    def label(self) -> str:
        """Return the name for people, which distinguishes variants."""
        ...

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> Fitted:
        """Fit ``model`` to ``anchor``; ``parallel`` maps a function over circuits, results in order."""
        ...


def read(circuit: Circuit, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the logical tensors of a circuit."""
    return gather(circuit, {name: checkpoint.read(name) for name in circuit.tensors})


def row_blocks(circuit: Circuit, checkpoint: Checkpoint) -> Iterable[dict[str, Tensor]]:
    """Yield a rowwise circuit in blocks of rows."""
    n_rows = checkpoint.tensors[circuit.tensors[0]].shape[0]
    for start in range(0, n_rows, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, n_rows)
        yield gather(circuit, {name: checkpoint.read_rows(name, start, stop) for name in circuit.tensors})


def folded(tensors: Tensors) -> dict[str, Tensor]:
    """Move the gain and shift of the norm of a circuit into its readers, float32: a form that no gain trade changes.

    W <- W diag(gain), b <- b + W shift (before the gain is folded), gain <- 1, shift <- 0.
    """
    gain, shift = tensors.get("norm.weight"), tensors.get("norm.bias")
    moved = {name: tensor.float() for name, tensor in tensors.items() if not name.startswith("norm.")}
    if gain is None:
        return moved
    for name in list(moved):
        if LOGICAL[name].stream == "columns":
            bias = name.replace(".weight", ".bias")
            if shift is not None and bias in moved:
                moved[bias] = moved[bias] + moved[name] @ shift.float()
            moved[name] = moved[name] * gain.float()
    return moved


def cosine(tensors: Tensors, anchor: Tensors) -> float:
    """Return the cosine between all matrices of two circuits taken as one vector; 0 when either is silent."""
    names = [name for name in tensors if LOGICAL[name].columns is not None]
    dot = sum(float((tensors[name].float() * anchor[name].float()).sum()) for name in names)
    norms = [sum(float(side[name].float().square().sum()) for name in names) ** 0.5 for side in (tensors, anchor)]
    return dot / (norms[0] * norms[1]) if all(norms) else 0.0
