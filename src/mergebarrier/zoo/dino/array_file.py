"""Arrays that were stored in a format which can run code, read without running any: bytes are matched, never executed.

A numpy array in protocol 4 is always the same few instructions around a shape, a type and one block of bytes.  Whatever
deviates from exactly that is refused, so no instruction is ever carried out.

    reconstruct(ndarray, (0,), b'b') <- state(1, SHAPE, dtype(TYPE) state(3, ORDER, ...), False, PAYLOAD)

Source: PEP 3154 (opcodes), numpy's ``ndarray.__reduce__``.
"""

import math
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergebarrier.errors import AssetMissing

#: (type, byte order) as stored -> (type, bytes per number)
_TYPES = {("u1", "|"): ("|u1", 1), ("i8", "<"): ("<i8", 8)}
_BEFORE_SHAPE = (
    ("PROTO", 4), ("TEXT", "numpy.core.multiarray"), ("TEXT", "_reconstruct"), ("STACK_GLOBAL", None),
    ("TEXT", "numpy"), ("TEXT", "ndarray"), ("STACK_GLOBAL", None), ("INT", 0), ("TUPLE1", None),
    ("SHORT_BINBYTES", b"b"), ("TUPLE3", None), ("REDUCE", None), ("MARK", None), ("INT", 1),
)  # fmt: skip
_BEFORE_TYPE = (("BINGET", 3), ("TEXT", "dtype"), ("STACK_GLOBAL", None))
_BEFORE_ORDER = (
    ("NEWFALSE", None), ("NEWTRUE", None), ("TUPLE3", None), ("REDUCE", None), ("MARK", None), ("INT", 3),
)  # fmt: skip
_BEFORE_PAYLOAD = (
    ("NONE", None), ("NONE", None), ("NONE", None), ("INT", -1), ("INT", -1), ("INT", 0), ("TUPLE", None),
    ("BUILD", None), ("NEWFALSE", None),
)  # fmt: skip
_END = (("TUPLE", None), ("BUILD", None), ("STOP", None))
#: An instruction and its argument, whose type it decides.
_Step = tuple[str, Any]
_NAMES = {"SHORT_BINUNICODE": "TEXT", "BININT1": "INT", "BININT2": "INT", "BININT": "INT"}


def read_array(data: bytes, where: object) -> NDArray[Any]:
    """Read one array.

    Args:
      data:  the whole file, of at most a few megabytes.
      where: its name, for errors.
    Returns: the array, of unsigned bytes or 64-bit integers.
    Raises:  AssetMissing for anything but such an array.
    """
    try:
        steps = [
            (_NAMES.get(op.name, op.name), argument)
            for op, argument, _ in pickletools.genops(data)
            if op.name not in ("FRAME", "MEMOIZE")
        ]
        rest = _after(steps, _BEFORE_SHAPE)
        n_sides = next(i for i, (name, _) in enumerate(rest) if name != "INT")
        shape = tuple(int(value) for _, value in rest[:n_sides])
        rest = _after(rest[n_sides:], ((f"TUPLE{n_sides}", None), *_BEFORE_TYPE))
        (_, kind), *rest = _after(rest, ())
        (_, order), *rest = _after(rest, _BEFORE_ORDER)
        (_, payload), *rest = _after(rest, _BEFORE_PAYLOAD)
        dtype, size = _TYPES[kind, order]
        if _after(rest, _END) or len(payload) != math.prod(shape) * size:
            raise ValueError("bytes are left over or missing")
        return np.frombuffer(bytes(payload), dtype=dtype).reshape(shape)
    except (ValueError, KeyError, TypeError, StopIteration, IndexError) as error:
        raise AssetMissing("not a plain array", where=where, remedy="fetch the file again") from error


def _after(steps: list[_Step], expected: tuple[_Step, ...]) -> list[_Step]:
    if tuple(steps[: len(expected)]) != expected:
        raise ValueError("another instruction")
    return steps[len(expected) :]
