"""Write the JSON Schema of every document of ours: `python docs/_generate_schemas.py`; a test runs it and compares.

Documents that are dataclasses are read from them, reports of the front door among them; the others from
`_documents.py`.  An object that is none of those types' is refused: nothing is added silently.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

sys.path.insert(0, str(Path(__file__).parent))

import _documents as documents

from mergebarrier.api.base import Report
from mergebarrier.api.verify import VerifyReport
from mergebarrier.results import BackdoorResult, Cell, Measurement, Result

FOLDER: Final = Path(__file__).parents[1] / "src" / "mergebarrier" / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

#: name of a schema (the kind of a document, or a file of ours) -> what it is made of.
SCHEMAS: Final[dict[str, Any]] = {
    "attack": documents.Attack,
    "audit": Result,
    "backdoor": BackdoorResult,
    "doctor": documents.Doctor,
    "error": documents.Error,
    "evaluation": documents.Evaluation,
    "explanation": documents.Explanation,
    "inspect": documents.Inspect,
    "manifest": documents.Manifest,
    "merge": documents.Merge,
    "plan": documents.ProtectPlan
    | documents.UnprotectPlan
    | documents.RealignPlan
    | documents.MergePlan
    | documents.AdapterPlan
    | documents.AttackPlan
    | documents.MeasurePlan
    | documents.AuditPlan
    | documents.ScanPlan
    | documents.TaskPlan
    | documents.DemoPlan,
    "protect": documents.Protect,
    "realign": documents.Realign,
    "result": Result | BackdoorResult,
    "row": Cell | Measurement,
    "scan": documents.Scan,
    "task": documents.Task,
    "unprotect": documents.Unprotect,
    "verify": VerifyReport,
    "zoo": documents.Zoo,
    "zoo-path": documents.ZooPath,
}
#: What the command line adds to a result that it shows.
BESIDE: Final = {"audit": ("report", "protected"), "backdoor": ("report",)}


class _Strict(GenerateJsonSchema):
    """JSON Schema as we mean it: no unknown keys, no titles or defaults, a path is text."""

    finite = True

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
        return self._closed(super().typed_dict_schema(schema))

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        return self._closed(super().dataclass_schema(schema))

    def float_schema(self, schema: Any) -> dict[str, Any]:
        return super().float_schema(schema) if self.finite else {"type": ["number", "null"]}

    @staticmethod
    def _closed(made: dict[str, Any]) -> dict[str, Any]:
        del made["title"]
        if "description" in made:
            made["description"] = made["description"].partition("\n\n")[0].replace("\n", " ")
        return made | {"additionalProperties": False}


class _Shown(_Strict):
    """Of a report of the front door, whose figures are null where they are not finite."""

    finite = False


def schema(name: str) -> dict[str, Any]:
    """Return the schema of that name."""
    source = SCHEMAS[name]
    is_report = isinstance(source, type) and issubclass(source, Report)
    made = TypeAdapter(source).json_schema(mode="serialization", schema_generator=_Shown if is_report else _Strict)
    if is_report:
        _as_document(made, source)
    for field in BESIDE.get(name, ()):
        made["properties"][field] = {"type": "string"}
    return {"$schema": DIALECT, "title": f"mergebarrier {name}", **made}


def _as_document(made: dict[str, Any], report: type[Report]) -> None:
    """Add the head of a document to the schema of a report, and take what the document leaves out."""
    fields = {field.name: field.metadata for field in dataclasses.fields(report)}
    shown = {field: made["properties"][field] for field in fields if not fields[field].get("beside")}
    head = {"schema_version": {"const": 1, "type": "integer"}, "kind": {"const": report.kind, "type": "string"}}
    made["properties"] = head | shown
    made["required"] = [*head, *(field for field in shown if not fields[field].get("optional"))]


def text(name: str) -> str:
    """Return the file of a schema."""
    return json.dumps(schema(name), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    for name in SCHEMAS:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")
