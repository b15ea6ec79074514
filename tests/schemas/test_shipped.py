"""The schemas are what the types say, refuse what they should, and can be asked for."""

import importlib.util
import json
import pkgutil
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from documents import checked, validator
from mergebarrier import api, schemas
from mergebarrier.api.base import ProvenanceEvidence, Report
from mergebarrier.api.cleanse import CleanseReport


@pytest.fixture(scope="module")
def generator():
    """The program that writes them."""
    path = Path(__file__).parents[2] / "docs" / "_generate_schemas.py"
    spec = importlib.util.spec_from_file_location("generate_schemas", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_schemas_are_current(generator) -> None:
    assert list(schemas.names()) == generator.names()
    stale = [name for name in schemas.names() if schemas.text(name) != generator.text(name)]
    assert not stale, f"{stale}: run python docs/_generate_schemas.py"


@pytest.mark.parametrize("name", schemas.names())
def test_a_schema_is_one_and_leaves_no_object_of_ours_open(name: str) -> None:
    schema = json.loads(schemas.text(name))
    Draft202012Validator.check_schema(schema)

    def walk(node: object, path: str) -> list[str]:
        if isinstance(node, list):
            return [found for i, item in enumerate(node) for found in walk(item, f"{path}.{i}")]
        if not isinstance(node, dict):
            return []
        is_open = (
            "properties" in node and node.get("additionalProperties") is not False and not path.endswith("properties")
        )
        return [path] * is_open + [found for key, item in node.items() for found in walk(item, f"{path}.{key}")]

    assert not walk(schema, name)


def test_every_report_of_the_front_door_has_one() -> None:
    for module in pkgutil.iter_modules(api.__path__, "mergebarrier.api."):
        importlib.import_module(module.name)
    reports = [*Report.__subclasses__(), *ProvenanceEvidence.__subclasses__()]
    ours = [one for one in reports if one.__module__.startswith("mergebarrier.") and one is not ProvenanceEvidence]
    kinds = {report.kind for report in ours}
    assert {"verify", "protect", "plan"} <= kinds <= set(schemas.names())


def test_a_report_that_no_verb_prints_is_what_its_schema_says() -> None:
    report = CleanseReport(out=Path("x"), method="ties", cure="drop", content_digest="0" * 64, warnings=("w",))
    assert checked(report.to_dict())["warnings"] == ["w"]


GOOD = {"schema_version": 1, "kind": "zoo-path", "name": "x", "path": "y"}


@pytest.mark.parametrize(
    "change", [{"surplus": 1}, {"name": 3}, {"schema_version": 2}, {"kind": "zoo"}, {"path": None}]
)
def test_a_document_that_is_otherwise_is_refused(change) -> None:
    assert checked(GOOD) == GOOD
    assert not validator("zoo-path").is_valid(GOOD | change)
    with pytest.raises(AssertionError, match=re.escape("schemas/zoo-path.json")):
        checked(GOOD | change, "zoo-path")


def test_the_command_lists_and_prints_them(run_cli) -> None:
    assert run_cli("schema").stdout.split() == list(schemas.names())
    shown = run_cli("schema", "merge")
    assert shown.exit_code == 0 and shown.stdout == schemas.text("merge")
    refused = run_cli("schema", "marge")
    assert refused.exit_code == 64 and "did you mean 'merge'" in refused.stderr
