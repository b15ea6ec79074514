"""Documents beside the schemas that are shipped: every document that a test reads is checked here."""

import functools
import json
from typing import TYPE_CHECKING, Any

from mergebarrier import schemas

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator


@functools.cache
def validator(name: str) -> "Draft202012Validator":
    """Return what checks documents of one kind."""
    from jsonschema import Draft202012Validator  # two seconds, which every process of pytest would wait for

    return Draft202012Validator(json.loads(schemas.text(name)))


def checked(document: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    """Return a document that is what the schema of its kind, or that of ``name``, says; AssertionError otherwise."""
    from jsonschema.exceptions import best_match

    name = name or document["kind"]
    fault = best_match(validator(name).iter_errors(document))
    assert fault is None, (
        f"schemas/{name}.json says otherwise at {'.'.join(map(str, fault.absolute_path)) or 'the top'}: "
        f"{fault.message[-400:]} (types stand in docs/_documents.py or in the report; docs/_generate_schemas.py writes)"
    )
    return document
