"""Reports are the document of --json, typed; rows become a data frame where pandas is."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from mergebarrier.api.base import Report, beside, document_of, optional
from mergebarrier.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class _Grown(Report):
    kind: ClassVar[str] = "grown"

    out: Path
    heights: tuple[float, ...]
    note: str | None = optional()
    note_always: str | None = None
    ours: int = beside(0)

    def rows(self):
        return [{"tree": i, "height": height} for i, height in enumerate(self.heights)]


@dataclass(frozen=True, kw_only=True)
class _Plain(Report):
    kind: ClassVar[str] = "plain"


def test_a_report_is_its_document_in_the_order_of_its_fields() -> None:
    report = _Grown(out=Path("a") / "b", heights=(1.5, math.inf), ours=3)
    document = {"schema_version": 1, "kind": "grown", "out": "a/b", "heights": [1.5, None], "note_always": None}
    assert report.to_dict() == document and list(report.to_dict()) == list(document)


def test_an_optional_field_appears_with_its_value() -> None:
    assert _Grown(out=Path("a"), heights=(), note="").to_dict()["note"] == ""


def test_a_report_without_rows_says_so() -> None:
    with pytest.raises(UsageError, match="plain has no rows"):
        _Plain().to_pandas()


def test_what_json_cannot_say_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError, match="object"):
        document_of({"odd": object()})
