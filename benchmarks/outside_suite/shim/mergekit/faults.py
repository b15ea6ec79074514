"""Our errors as the built-in ones that mergekit raises, with the words its tests look for in front."""

from collections.abc import Iterator
from contextlib import contextmanager

from mergebarrier.errors import BadMergeParameter, MergebarrierError, ShapeMismatch, TensorSetMismatch


def words(fault: MergebarrierError) -> str:
    """Return our message behind mergekit's name of the fault."""
    text = str(fault)
    if isinstance(fault, ShapeMismatch):
        # Which of the two it is stands in our message as well: dtypes, or shapes.
        if "integer tensor" in text or " dtype " in f" {text} ":
            return f"Non-floating buffer differs: {text}"
        return f"Tensor size mismatch for {str(fault.where).rpartition(': ')[2]}: {text}"
    if isinstance(fault, TensorSetMismatch):
        return f"different tensor keys: {text}"
    if isinstance(fault, BadMergeParameter) and "needs the base" in text:
        return f"requires a base input: {text}"
    return text


@contextmanager
def theirs() -> Iterator[None]:
    """Turn our errors into ValueError inside the block."""
    try:
        yield
    except MergebarrierError as fault:
        raise ValueError(words(fault)) from fault
