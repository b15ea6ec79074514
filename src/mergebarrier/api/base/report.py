"""What a function of the front door returns: a frozen record that is also the document of ``--json`` and a table.

    @dataclass(frozen=True, kw_only=True)
    class VerifyReport(Report):
        kind: ClassVar[str] = "verify"
        dtype: str
        kl_nats: float | None = optional()      # left out of the document when None
        weights: Path = beside()                # for the caller only, never in the document

    report.to_dict() == {"schema_version": 1, "kind": "verify", "dtype": "float32"}

Fields come in the order of the document.  A report whose document differs from its fields overrides ``document``; one
that has rows overrides ``rows``.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from types import EllipsisType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar

from mergebarrier.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from pandas import DataFrame

_T = TypeVar("_T")
_K = TypeVar("_K")
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Row: TypeAlias = Mapping[str, object]

SCHEMA_VERSION: Final = 1
_OPTIONAL: Final = "optional"
_BESIDE: Final = "beside"


def optional() -> Any:
    """Declare a field of a report that its document leaves out when it is None, the default."""
    return dataclasses.field(default=None, metadata={_OPTIONAL: True})


def beside(default: _T | EllipsisType = ...) -> _T:
    """Declare a field of a report that its document never holds; without a default it must be given."""
    if isinstance(default, EllipsisType):
        needed: _T = dataclasses.field(metadata={_BESIDE: True})
        return needed
    return dataclasses.field(default=default, metadata={_BESIDE: True})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What was done or found; subclasses are frozen, keyword-only dataclasses and name their ``kind``."""

    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Json]:
        """Return exactly the document that ``--json`` prints."""
        return document_of({"kind": self.kind, **self.document()})

    def document(self) -> dict[str, object]:
        """Return what the document holds beyond its kind, in order, as Python values."""
        shown = {field.name: field for field in dataclasses.fields(self) if not field.metadata.get(_BESIDE)}
        values = {name: getattr(self, name) for name in shown}
        return {
            name: value
            for name, value in values.items()
            if value is not None or not shown[name].metadata.get(_OPTIONAL)
        }

    def rows(self) -> Sequence[Row]:
        """Return the report as a table, a mapping per row; UsageError where it holds no rows."""
        raise UsageError(f"a report of {self.kind} has no rows", where="to_pandas", remedy="use to_dict()")

    def to_pandas(self) -> "DataFrame":
        """Return ``rows`` as a data frame; UsageError where there are none, MissingExtra without pandas."""
        rows = self.rows()
        try:
            from pandas import DataFrame
        except ImportError as error:
            remedy = "pip install 'mergebarrier[report]'"
            raise MissingExtra("a data frame needs the extra 'report'", where="pandas", remedy=remedy) from error
        return DataFrame([dict(plain_items(row)) for row in rows])


def document_of(fields: Mapping[str, object]) -> dict[str, Json]:
    """Return a JSON document: the version of its schema, then the fields, reduced to what JSON can say."""
    return {"schema_version": SCHEMA_VERSION, **dict(plain_items(fields))}


def plain_items(fields: Mapping[_K, object]) -> Iterator[tuple[str, Json]]:
    """Yield names and values of a table as JSON can say them."""
    for name, value in fields.items():
        yield str(name), plain(value)


def plain(value: object) -> Json:
    """Reduce dataclasses, paths and non-finite numbers to what JSON can say.

    Example:
      >>> plain({"path": PurePath("a/b"), "bad": float("inf"), "row": (1.5, None)})
      {'path': 'a/b', 'bad': None, 'row': [1.5, None]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return dict(plain_items(value))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"a document cannot hold {type(value).__name__}")
