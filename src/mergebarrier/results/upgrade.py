"""Results of an older schema, brought to the present one before they are read.

    schema 1 -> 2    a result says of itself what schema 1 left to the reader: the names and notes of its states, what
                     each attack needs, the compute dtype, and whether a key undoes the protection

What schema 1 could say was a closed list, so these tables are complete and never change.
"""

import json
from collections.abc import Mapping
from typing import Final

from mergebarrier.errors import BadReport
from mergebarrier.results.audit import SCHEMA_VERSION

_DTYPE: Final = "bfloat16"
_STATES: Final = {
    "unprotected": {"title": "Unprotected", "note": "control: no protection"},
    "protected": {"title": "Protected", "note": "as published, no attack"},
    "gaugefix": {"title": "After gaugefix", "note": "realigned to the public base"},
    "unprotected+gaugefix": {"title": "Unprotected, after gaugefix", "note": "a control of the audit", "column": False},
    "aga": {"title": "After AGA", "note": "published attack, not graded"},
    "other": {"title": "Another protection", "note": "beside the ladder", "column": False},
}
#: name of a level -> what the attacker needs for it, and the state of its cells.
_LEVELS: Final = {
    "naive": ("stock merge tools", "protected"),
    "coefficients": ("validation rows of both tasks", "protected"),
    "realign": ("the public base", "gaugefix"),
    "AGA": ("the public base", "aga"),
}
_COMPARISON: Final = ("stock merge tools", "other")
_KEYED: Final = {"exact": True, "mergebarrier": False}


def upgraded(text: bytes, where: object) -> bytes:
    """Return the JSON of a result in the present schema; what is no result of schema 1 is returned as it is.

    Raises: BadReport for a result of a later schema.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(document, dict) or document.get("kind") != "audit":
        return text
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BadReport(
            f"schema_version {version} is of a later version of mergebarrier, this one reads up to {SCHEMA_VERSION}",
            where=where,
            remedy="update mergebarrier",
        )
    if version != 1:
        return text
    environment = document.get("environment")
    if isinstance(environment, dict):
        document["environment"] = environment if "dtype" in environment else {**environment, "dtype": _DTYPE}
    levels = {name: _levels(document[name]) for name in ("levels", "extras") if name in document}
    added = {
        "schema_version": SCHEMA_VERSION,
        "method_keyed": _KEYED.get(str(document.get("method"))),
        "method_limit": "",
        "states": _STATES,
    }
    return json.dumps(document | levels | added).encode()


def _levels(found: object) -> object:
    """Return levels with what they need; what is no list of objects is left for the reader to refuse."""
    return [_level(level) for level in found] if isinstance(found, list) else found


def _level(level: object) -> object:
    if not isinstance(level, Mapping):
        return level
    needs, state = _LEVELS.get(str(level.get("name")), _COMPARISON)
    return {**level, "needs": needs, "state": state}
