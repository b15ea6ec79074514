"""Write the JSON Schema of every document of ours: `python docs/_generate_schemas.py`; a test runs it and compares.

Reports of the front door and results are read from their dataclasses; where a field of a report is a plain table, and
for what no report describes yet, the types stand in `_documents.py`.  An unknown key is refused everywhere.
"""

import dataclasses
import functools
import json
import operator
import sys
import types
from pathlib import Path
from typing import Any, Final, Literal, NotRequired, Union, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict

sys.path.insert(0, str(Path(__file__).parent))

import _documents as documents

from mergebarrier.api.attack import AttackPlan
from mergebarrier.api.audited import WorkerReport, WorkReport
from mergebarrier.api.base import Report
from mergebarrier.api.cleanse import CleanseReport
from mergebarrier.api.compare import ComparisonReport
from mergebarrier.api.demo import DemoPlan
from mergebarrier.api.extract import ExtractionReport, MisleadPlan, MisleadReport
from mergebarrier.api.family import FamilyReport
from mergebarrier.api.files import ImportReport
from mergebarrier.api.fingerprint import FingerprintPlan, FingerprintReport, RecognitionReport
from mergebarrier.api.image_task import ImageTaskReport
from mergebarrier.api.inspect import InspectReport
from mergebarrier.api.measure_backdoor import TheftReport
from mergebarrier.api.merge import MergeExplanation
from mergebarrier.api.parents import ParentsReport
from mergebarrier.api.protect import ProtectPlan, ProtectReport
from mergebarrier.api.provenance import RelateReport
from mergebarrier.api.realign import RealignPlan, RealignReport
from mergebarrier.api.statement import Statement
from mergebarrier.api.unprotect import UnprotectPlan, UnprotectReport
from mergebarrier.api.verify import VerifyReport
from mergebarrier.api.watermark import ImitationReport, RadioactivityReport, ShieldReport
from mergebarrier.api.zoo import RowsReport, ZooPathReport, ZooReport
from mergebarrier.checkpoint.files import TrainedFigures
from mergebarrier.results import BackdoorResult, Cell, Measurement, Result
from mergebarrier.verbs import Stressed

FOLDER: Final = Path(__file__).parents[1] / "src" / "mergebarrier" / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def typed(report: type[Report], **stricter: Any) -> Any:
    """Return the document of a report as a type: its fields, with a stricter type where one is given here."""
    shown = [field for field in dataclasses.fields(report) if not field.metadata.get("beside")]
    assert stricter.keys() <= {field.name for field in shown}, (report, sorted(stricter))
    fields: dict[str, Any] = {"schema_version": Literal[1], "kind": Literal[report.kind]}
    for field in shown:
        of = stricter.get(field.name, field.type)
        fields[field.name] = NotRequired[_without_none(of)] if field.metadata.get("optional") else of
    made = TypedDict(report.__name__, fields)
    made.__doc__ = report.__doc__
    return made


def _without_none(of: Any) -> Any:
    """Return what an optional field holds when it is there."""
    if get_origin(of) not in (Union, types.UnionType):
        return of
    return functools.reduce(operator.or_, (item for item in get_args(of) if item is not type(None)))


DIGEST: Final = documents.Digest
KEY_ID: Final = documents.KeyId | None

#: Documents that are read as they are stored: a figure in them is finite.
STORED: Final[dict[str, Any]] = {
    "audit": Result,
    "backdoor": BackdoorResult,
    "manifest": documents.Manifest,
    "result": Result | BackdoorResult,
    "row": Cell | Measurement,
}
#: Documents that are shown: a figure that is not finite is null.
SHOWN: Final[dict[str, Any]] = {
    "attack": documents.Attack,
    "cleanse": typed(CleanseReport, content_digest=DIGEST),
    "comparison": typed(ComparisonReport),
    "doctor": documents.Doctor,
    "error": documents.Error,
    "evaluation": documents.Evaluation,
    "explanation": typed(MergeExplanation, recipe=documents.Parameters, tensors=list[documents.Explained]),
    "family": typed(FamilyReport),
    "hijack": documents.Hijack,
    "inspect": typed(
        InspectReport, manifest=documents.ManifestOf | None, lineage=documents.Lineage | None, dims=documents.Dims
    ),
    "extraction": typed(ExtractionReport),
    "fingerprint": typed(FingerprintReport, content_digest=DIGEST),
    "imitation": typed(ImitationReport),
    "merge": documents.Merge,
    "mislead": typed(MisleadReport, content_digest=DIGEST),
    "parents": typed(ParentsReport),
    "plan": typed(ProtectPlan)
    | typed(UnprotectPlan, key_id=KEY_ID)
    | typed(RealignPlan)
    | documents.MergePlan
    | documents.AdapterPlan
    | typed(AttackPlan)
    | typed(MisleadPlan)
    | typed(FingerprintPlan)
    | documents.MeasurePlan
    | documents.AuditPlan
    | documents.ScanPlan
    | documents.TaskPlan
    | documents.RowsPlan
    | typed(DemoPlan),
    "import": typed(ImportReport),
    "protect": typed(
        ProtectReport, key_id=KEY_ID, content_digest=DIGEST, realigned=documents.Undone, trained=TrainedFigures
    ),
    "radioactivity": typed(RadioactivityReport),
    "realign": typed(RealignReport, content_digest=DIGEST, diagnostics=documents.Fit),
    "recognition": typed(RecognitionReport),
    "relation": typed(RelateReport),
    "statement": typed(Statement, document_of_report=documents.Parameters),
    "rows": typed(RowsReport),
    "scan": documents.Scan,
    "shield": typed(ShieldReport),
    "task": typed(ImageTaskReport),
    "theft": typed(TheftReport),
    "unprotect": typed(UnprotectReport, content_digest=DIGEST),
    "work": typed(WorkReport),
    "worker": typed(WorkerReport),
    "verify": typed(VerifyReport, stress=tuple[Stressed, ...]),
    "zoo": typed(ZooReport),
    "zoo-path": typed(ZooPathReport),
}
#: What the command line adds to a result that it shows.
BESIDE: Final = {"audit": ("report", "protected"), "backdoor": ("report",)}


class _Strict(GenerateJsonSchema):
    """JSON Schema as we mean it: no unknown keys, no titles or defaults, a path is text."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
        return self._closed(super().typed_dict_schema(schema))

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        return self._closed(super().dataclass_schema(schema))

    @staticmethod
    def _closed(made: dict[str, Any]) -> dict[str, Any]:
        del made["title"]
        if "description" in made:
            made["description"] = made["description"].partition("\n\n")[0].replace("\n", " ")
        return made | {"additionalProperties": False}


class _Shown(_Strict):
    """The same of what is shown."""

    def float_schema(self, schema: Any) -> dict[str, Any]:
        return {"type": ["number", "null"]}


def names() -> list[str]:
    """Return the names of all schemas: a kind of document, or a file of ours."""
    return sorted([*STORED, *SHOWN])


def text(name: str) -> str:
    """Return the file of a schema."""
    source, generator = (STORED[name], _Strict) if name in STORED else (SHOWN[name], _Shown)
    made = TypeAdapter(source).json_schema(mode="serialization", schema_generator=generator)
    for field in BESIDE.get(name, ()):
        made["properties"][field] = {"type": "string"}
    schema = {"$schema": DIALECT, "title": f"mergebarrier {name}", **made}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    for name in names():
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")
