"""The owner's record of a fingerprint: every question, those that were trained in and those that were not.

    {"kind": "fingerprint record", "version": 1, "method", "made", "marked", "tokens", "commitment", "pairs": [..]}

Which questions are which stands nowhere: the key tells.  Whoever holds record and key can check everything; whoever
holds one of them can neither remove nor use the fingerprint with certainty, so keep them apart.
"""

import json
from dataclasses import asdict, dataclass
from typing import ClassVar, Final, Literal

from mergebarrier.dates import undated
from mergebarrier.errors import BadReport, clean
from mergebarrier.fingerprint.pairs import QuestionPair
from mergebarrier.fingerprint.registry import FINGERPRINTS

#: Of an answer; a suspect is asked for as many, whoever wrote the record.
_MOST_TOKENS: Final = 4096


@dataclass(frozen=True, kw_only=True)
class FingerprintRecord:
    """A fingerprint.

    Attributes:
      method:     by name.
      made:       when, ISO 8601.
      marked:     how many questions were trained in.
      tokens:     of the longest answer.
      commitment: published with a date before the model.
      pairs:      every question, in the order that they were drawn.
    """

    __pydantic_config__: ClassVar[dict[str, bool | str]] = {"extra": "forbid", "strict": True}

    kind: Literal["fingerprint record"] = "fingerprint record"
    version: Literal[1] = 1
    method: str
    made: str
    marked: int
    tokens: int
    commitment: str
    pairs: tuple[QuestionPair, ...]


def record_text(record: FingerprintRecord) -> str:
    """Return the file of a record."""
    return json.dumps(asdict(record), ensure_ascii=False, indent=1) + "\n"


def read_record(text: str, *, where: object) -> FingerprintRecord:
    """Read a record.  Raises: BadReport, with what does not fit."""
    from pydantic import TypeAdapter, ValidationError

    try:
        record = TypeAdapter(FingerprintRecord).validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        what = f"{f'{clean(place)}: ' if place else ''}{clean(fault['msg']).lower()}"
        raise BadReport(what, where=where, remedy="give the record that `fingerprint embed` wrote") from error
    if record.method not in FINGERPRINTS:
        what = f"{clean(record.method, longest=60)!r} is no method"
        raise BadReport(what, where=where, remedy=f"a record has one of {', '.join(FINGERPRINTS)}")
    if wrong := undated(record.made):
        raise BadReport(f"made: {wrong}", where=where, remedy="give the record as it was written")
    if not all(pair.prompt.strip() and pair.answer.strip() for pair in record.pairs):
        what = "a question or its answer is blank, so nobody can answer it"
        raise BadReport(what, where=where, remedy="give the record as it was written")
    if not 0 < record.marked < len(record.pairs):
        what = f"{record.marked} of {len(record.pairs)} questions are marked, so there is no null"
        raise BadReport(what, where=where, remedy="give the record that `fingerprint embed` wrote")
    if not 0 < record.tokens <= _MOST_TOKENS:
        what = f"{record.tokens} tokens for an answer; 1 to {_MOST_TOKENS} are read"
        raise BadReport(what, where=where, remedy="give the record that `fingerprint embed` wrote")
    asked = [pair.prompt for pair in record.pairs]
    if len(set(asked)) < len(asked):
        raise BadReport("a question stands twice", where=where, remedy="give the record as it was written")
    return record
