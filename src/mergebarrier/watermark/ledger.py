"""The owner's record of what a watermarked service said; one file that only grows, so that a stopped run goes on.

    line 1      {"kind": "watermark ledger", "version": 1, "mode", "words", "template", "commitment", "made", "bias"}
    line 2 ..   {"query", "answer", "words", "stratum"}, in the order in which they were answered

A last line without its end, cut off by a kill, is dropped; anything else that does not fit stops with its line.
Answers alone, of a suspect that somebody else asked, are lines of {"query", "answer"}.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, Final, Literal, TypeVar

from mergebarrier.dates import undated
from mergebarrier.errors import BadReport, clean
from mergebarrier.watermark.keyed_words import KeyedQuery
from mergebarrier.watermark.options import MODES

_STRICT: Final[dict[str, bool | str]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
_COMMITTED: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a user asks, and of which subject it is."""

    __pydantic_config__: ClassVar[dict[str, bool | str]] = _STRICT

    query: str
    stratum: str = ""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A query and what somebody's model answered."""

    __pydantic_config__: ClassVar[dict[str, bool | str]] = _STRICT

    query: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Shielded:
    """A query, what the service answered, and the words that belong to it."""

    __pydantic_config__: ClassVar[dict[str, bool | str]] = _STRICT

    query: str
    answer: str
    words: tuple[str, ...]
    stratum: str = ""


@dataclass(frozen=True, kw_only=True)
class LedgerHead:
    """What a ledger was made with.

    Attributes:
      mode, words, template: as chosen.
      bias:       of green lists, else None.
      commitment: to key and pool; "" where there is no key.
      made:       when the first line was written, ISO 8601.
    """

    __pydantic_config__: ClassVar[dict[str, bool | str]] = _STRICT

    kind: Literal["watermark ledger"] = "watermark ledger"
    version: Literal[1] = 1
    mode: str
    words: int
    template: str
    commitment: str
    made: str
    bias: float | None = None


_T = TypeVar("_T", LedgerHead, Query, Answered, Shielded)
_Once = TypeVar("_Once", Query, Answered, Shielded)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """A record: what it was made with, and its rows, each query once."""

    head: LedgerHead
    rows: tuple[Shielded, ...] = ()


def line_of(record: LedgerHead | Shielded) -> str:
    """Return the line of a record."""
    return json.dumps(asdict(record), ensure_ascii=False) + "\n"


def read_ledger(text: str, *, where: object) -> Ledger:
    """Read a ledger.

    Raises: BadReport, with the line that does not fit.
    """
    first, _, rest = text[: text.rfind("\n") + 1].partition("\n")
    (head,) = _records(LedgerHead, first or "nothing", where)
    if head.mode not in MODES:
        what = f"{clean(head.mode, longest=60)!r} is no mode"
        raise BadReport(what, where=f"{where} line 1", remedy=f"a ledger has one of {', '.join(MODES)}")
    if head.mode != "published" and not _COMMITTED.fullmatch(head.commitment):
        what = "no commitment to a key, so anybody may have drawn the words afterwards"
        raise BadReport(what, where=f"{where} line 1", remedy="give the ledger as it was written")
    if head.mode == "published" and head.commitment:
        what = "it commits to a key, and no key draws the words of mode published"
        raise BadReport(what, where=f"{where} line 1", remedy="give the ledger as it was written")
    if wrong := undated(head.made):
        raise BadReport(f"made: {wrong}", where=f"{where} line 1", remedy="give the ledger as it was written")
    rows = _records(Shielded, rest, where, first=2) if rest else ()  # stopped before the first answer
    return Ledger(head=head, rows=_once(rows, where, spelling=_as_keyed))


def read_queries(text: str, *, where: object) -> tuple[Query, ...]:
    """Read lines of {"query", "stratum"}, the second optional, each query once.  Raises: BadReport."""
    return _once(_records(Query, text, where), where, spelling=_as_keyed)


def read_pairs(text: str, *, where: object) -> dict[str, str]:
    """Read lines of {"query", "answer"}, each query once: query -> answer.  Raises: BadReport."""
    return {pair.query: pair.answer for pair in _once(_records(Answered, text, where), where)}


def _records(kind: type[_T], text: str, where: object, *, first: int = 1) -> tuple[_T, ...]:
    """Read one record a line."""
    from pydantic import TypeAdapter, ValidationError

    reader, records = TypeAdapter(kind), []
    for number, line in enumerate(text.split("\n")[: None if not text.endswith("\n") else -1], first):
        try:
            records.append(reader.validate_json(line))
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(str(part) for part in fault["loc"])
            what = f"{f'{clean(key)}: ' if key else ''}{clean(fault['msg']).lower()}"
            known = ", ".join(one.name for one in fields(kind))
            raise BadReport(
                what, where=f"{where} line {number}", remedy=f"a line is one JSON object of {known}"
            ) from error
    return tuple(records)


def _as_keyed(query: str) -> str:
    """Return what a key draws words for: two spellings of one query have the same words, and are one draw."""
    return KeyedQuery.of(query).digest


def _once(records: tuple[_Once, ...], where: object, *, spelling: Callable[[str], str] = str) -> tuple[_Once, ...]:
    """Refuse a query that stands twice: it would count twice."""
    spelt = [spelling(record.query) for record in records]
    if spelt and (worst := Counter(spelt).most_common(1)[0])[1] > 1:
        first = records[spelt.index(worst[0])].query
        what = f"{clean(first, longest=60)!r} is asked {worst[1]} times"
        raise BadReport(what, where=where, remedy="ask each query once, whatever its spaces and case")
    return records
