r"""Parse untrusted JSON so that no other reader can find something different in the same bytes.

Size, nesting and the number of values are bounded before a parser runs; then one pass refuses duplicate keys (compared
after decoding, so ``"a"`` and ``"\u0061"`` collide), numbers that other readers round, and text that is not UTF-8.

    depth = longest chain of open brackets outside strings = max of a running sum of +1 and -1

Source: safetensors ``attacks/``; measured parser differences in safetensors 0.8.0.  Differs: refused here.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from mergebarrier.errors import LimitExceeded, MergebarrierError, clean
from mergebarrier.lazy import np

# Possessive, and an unterminated string swallows the rest: linear time and constant memory on any input.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_ONE_BRACKET = bytes.maketrans(b"[]", b"{}")
_NOT_BRACKET = bytes(range(256)).translate(None, b"[]{}")
_MAX_INTEGER_DIGITS = 400
#: Keys of limits without an upper end, such as the ``time_step_limit`` of Mamba 2 and its hybrids.
_ENDLESS = re.compile(r"\w*_limit", re.ASCII)
_CHUNK = 1 << 20
_TEXT_DEPTH, _TEXT_VALUES = 64, 4_000_000


@dataclass(frozen=True)
class Skeleton:
    """What is outside strings: brackets (all as ``{`` or ``}``), and how many tables, members and commas."""

    brackets: bytes
    tables: int
    members: int
    commas: int


def skeleton(text: bytes) -> Skeleton:
    """Look at JSON text without parsing it: linear time, memory of about one copy."""
    bare = _STRING.sub(b"", text)
    return Skeleton(bare.translate(_ONE_BRACKET, _NOT_BRACKET), bare.count(b"{"), bare.count(b":"), bare.count(b","))


def check_depth(brackets: bytes, max_depth: int, *, where: object, remedy: str) -> None:
    """Raise LimitExceeded when brackets nest deeper than ``max_depth``."""
    depth, deepest = 0, 0
    for start in range(0, len(brackets), _CHUNK):
        steps = np.frombuffer(brackets[start : start + _CHUNK], np.uint8) == ord("{")
        depths = depth + np.cumsum(np.where(steps, 1, -1))
        depth, deepest = int(depths[-1]), max(deepest, int(depths.max()))
    if deepest > max_depth:
        raise LimitExceeded(f"JSON nests deeper than {max_depth} levels", where=where, remedy=remedy)


def parse(
    text: bytes,
    error: Callable[[str], MergebarrierError],
    *,
    integers_only: bool = False,
    infinite: bool = False,
) -> Any:
    """Parse JSON whose size and depth were checked before.

    Args:
      text:          strict UTF-8 without a byte-order mark.
      error:         makes the error to raise from a description of the fault.
      integers_only: refuse every number that is not an integer in [0, 2**63 - 1].
      infinite:      read Infinity, which is no JSON, below the keys where transformers 4 wrote it.
    Returns: dicts, lists, str, int, float, bool, None.
    Raises:  what ``error`` makes.
    """

    def fail(what: str) -> NoReturn:
        raise error(what)

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            twice = next(key for key, count in Counter(key for key, _ in items).items() if count > 1)
            fail(f"key {clean(twice)!r} appears twice")
        return found

    def integer(digits: str) -> int:
        if len(digits) > _MAX_INTEGER_DIGITS:
            fail(f"a number has {len(digits)} digits")
        value = int(digits)
        if integers_only and (digits.startswith("-") or value > 2**63 - 1):
            fail(f"number {clean(digits)} is outside 0..2**63-1")
        return value

    def real(digits: str) -> float:
        if integers_only:
            fail(f"number {clean(digits)} is not an integer")
        value = float(digits)
        if not math.isfinite(value):  # 1e999, which other readers refuse, or pass on as a word that is no JSON
            fail(f"number {clean(digits, longest=40)} is beyond every float")
        return value

    def constant(name: str) -> float:
        if not infinite or name != "Infinity":
            fail(f"{name} is not JSON")
        return math.inf

    try:
        decoded = text.decode("utf-8", errors="strict")
        if decoded.startswith("\ufeff"):
            fail("the text starts with a byte-order mark")
        value = json.loads(
            decoded, object_pairs_hook=pairs, parse_int=integer, parse_float=real, parse_constant=constant
        )
    except UnicodeDecodeError as fault:
        raise error(f"not UTF-8 at byte {fault.start}") from fault
    except (json.JSONDecodeError, RecursionError) as fault:
        raise error(f"not JSON: {clean(fault)}") from fault
    if b"\\u" in text:
        _refuse_surrogates(value, fail)
    if (
        infinite
        and b"Infinity" in text
        and any(math.isinf(found) and not _ENDLESS.fullmatch(key) for key, found in _floats(value, ""))
    ):
        fail("Infinity is not JSON")
    return value


def _floats(value: object, key: str) -> Iterator[tuple[str, float]]:
    """Yield the floats of a document, each with the key that it stands under, alone or in lists."""
    if isinstance(value, float):
        yield key, value
    elif isinstance(value, list | dict):
        for inner, part in value.items() if isinstance(value, dict) else ((key, one) for one in value):
            yield from _floats(part, inner)


def _refuse_surrogates(value: object, fail: Callable[[str], NoReturn]) -> None:
    """Refuse half of a surrogate pair, which Python accepts and Rust does not."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo += item.keys()
            todo += item.values()
        elif isinstance(item, list):
            todo += item
        elif isinstance(item, str) and any("\ud800" <= c <= "\udfff" for c in item):
            fail("a string holds half of a surrogate pair")


def parse_bounded(
    text: bytes,
    error: Callable[[str], MergebarrierError],
    *,
    max_depth: int,
    max_values: int,
    where: object,
    remedy: str,
    infinite: bool = False,
) -> Any:
    """Check nesting (``max_depth``) and the number of values (``max_values``) before ``parse`` runs."""
    seen = skeleton(text)
    if seen.commas > max_values:
        raise LimitExceeded(f"{seen.commas + 1} values, at most {max_values} are read", where=where, remedy=remedy)
    check_depth(seen.brackets, max_depth, where=where, remedy=remedy)
    return parse(text, error, infinite=infinite)


def parse_text(text: bytes, error: Callable[[str], MergebarrierError], *, where: object) -> Any:
    """Parse a long text of a model, such as a tokenizer, whose size was checked; every fault is an ``error``."""
    try:
        return parse_bounded(text, error, max_depth=_TEXT_DEPTH, max_values=_TEXT_VALUES, where=where, remedy="")
    except LimitExceeded as fault:
        raise error(fault.what) from fault
