"""Results and rows as JSON, written plainly and read back strictly.

An unknown key, a missing key, a wrong type or a number that is not finite is refused by the name of its key, because a
report is also an untrusted file.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from mergebarrier.errors import BadReport, odd_shape
from mergebarrier.results.audit import Result
from mergebarrier.results.backdoor import BackdoorResult, Scanned
from mergebarrier.results.rows import Cell, Measurement
from mergebarrier.results.upgrade import upgraded

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MAX_DOCUMENT_BYTES: Final = 16 * 2**20
_T = TypeVar("_T")
#: field of ``Scanned`` -> key of a finding that a scan printed.
_SCANNED: Final = {"rule_id": "rule", "severity": "severity", "model": "model", "says": "message"}


def to_json(record: Result | BackdoorResult | Cell | Measurement, *, indent: int | None = None) -> str:
    """Return the JSON of a record: ASCII, its fields in their order, one final newline.

    Raises: BadReport when a figure is not finite.
    """
    try:
        return json.dumps(asdict(record), indent=indent, allow_nan=False) + "\n"
    except ValueError as error:
        raise BadReport(
            f"a figure is not finite ({error})", remedy="please report this, it is a fault of mergebarrier"
        ) from error


def result_from_json(text: bytes, *, where: object) -> Result | BackdoorResult:
    """Read ``result.json`` of either kind, and of an older schema.

    Args:
      text:  at most 16 MiB of JSON.
      where: the file, for messages.
    Raises:  BadReport naming the first key that is wrong.
    """
    result = _read(_result_reader, text, where, upgraded)
    if isinstance(result, Result):
        for name in ("levels", "tasks", "models"):
            if not getattr(result, name):
                raise BadReport(f"{name}: it is empty", where=where, remedy=_AGAIN)
        if result.grade_level is not None and result.grade_level not in [level.level for level in result.levels]:
            raise BadReport(f"grade_level: no level {result.grade_level}", where=where, remedy=_AGAIN)
    return result


def row_from_json(line: bytes, *, where: object) -> Cell | Measurement:
    """Read one line of ``rows.jsonl``; BadReport when it is not exactly a row."""
    return _read(_row_reader, line, where)


def findings_from_json(text: bytes, *, where: object) -> tuple[Scanned, ...]:
    """Take the findings out of what a scan printed; of each only rule, severity, model and message.

    Raises: BadReport when the text is not such a document.
    """
    try:
        if len(text) > MAX_DOCUMENT_BYTES:
            raise BadReport(f"it is larger than {MAX_DOCUMENT_BYTES} bytes", where=where)
        found = json.loads(text)["findings"]
        parts = [{name: one[key] for name, key in _SCANNED.items()} for one in found]
        if not all(isinstance(part, str) for one in parts for part in one.values()):
            raise TypeError("not text")
    except (BadReport, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise BadReport(
            f"not the findings of a scan: {odd_shape(fault)}",
            where=where,
            remedy="give what `mergebarrier scan --json` printed",
        ) from fault
    return tuple(Scanned(**one) for one in parts)


@cache
def _result_reader() -> "TypeAdapter[Result | BackdoorResult]":
    from pydantic import Field, TypeAdapter

    return TypeAdapter(Annotated[Result | BackdoorResult, Field(discriminator="kind")])


@cache
def _row_reader() -> "TypeAdapter[Cell | Measurement]":
    from pydantic import Field, TypeAdapter

    return TypeAdapter(Annotated[Cell | Measurement, Field(discriminator="entry_type")])


def _read(
    reader: "Callable[[], TypeAdapter[_T]]",
    text: bytes,
    where: object,
    older: Callable[[bytes, object], bytes] | None = None,
) -> _T:
    from pydantic import ValidationError

    if len(text) > MAX_DOCUMENT_BYTES:
        raise BadReport(f"{len(text)} bytes, at most {MAX_DOCUMENT_BYTES} are read", where=where, remedy=_AGAIN)
    try:
        return reader().validate_json(text if older is None else older(text, where))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise BadReport(f"{place}: {first['msg']}", where=where, remedy=_AGAIN) from None


_AGAIN = "make the report again with `mergebarrier audit`"
