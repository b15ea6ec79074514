"""The lineage of a model as a CycloneDX 1.7 bill of materials: the model, its files, and every ancestor that is known.

A parent stands in ``pedigree.ancestors`` of what was made from it, at any depth; what CycloneDX has no word for is a
property: role, digest of the content, verdict on licences, owners' wishes, marks of protection and attack.  The same
folder gives the same document: its serial number is derived from the content and it holds no time.

Source: CycloneDX 1.7 (ECMA-424).  Differs: its guide has no word for a merge, so ``notes`` says it.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from mergebarrier.errors import clean
from mergebarrier.lineage.licence import UNKNOWN, spdx_identifier

Json = dict[str, Any]
_PREFIX: Final = "mergebarrier:"
_SHA256: Final = re.compile("[0-9a-f]{64}")


def bill_of_materials(
    name: str, content: Mapping[str, Any] | None, *, licence: str, version: str, revision: str | None = None
) -> Json:
    """Return the document.

    Args:
      name:     of the model, ``owner/name`` for one of the Hub.
      content:  of its manifest; None for a model of somebody else, which then has no ancestors.
      licence:  identifier, or "unknown".
      version:  of this program.
      revision: commit of a model of the Hub.
    """
    given = content or {}
    output = _table(given, "output")
    about = {"content_digest": output.get("content_digest"), "verdict": _table(given, "licence").get("verdict")}
    model = _component("model", name, licence, about, revision)
    model |= {"pedigree": _pedigree(given, "model")} if given.get("inputs") else {}
    files = [
        {
            "type": "file",
            "bom-ref": f"file:{quote(file)}",
            "name": clean(file),
            "hashes": [{"alg": "SHA-256", "content": facts["sha256"]}],
        }
        for file, facts in sorted(_table(output, "files").items())
        if isinstance(facts, Mapping) and _SHA256.fullmatch(f"{facts.get('sha256')}")
    ]
    identity = f"{name}\n{output.get('content_digest', '')}\n{given.get('plan_sha256', '')}"
    tool = {"type": "application", "name": "mergebarrier", "version": version}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, identity).urn,
        "version": 1,
        "metadata": {"tools": {"components": [tool]}, "component": model},
        "components": files,
    }


def _pedigree(made: Mapping[str, Any], ref: str) -> Json:
    inputs = made.get("inputs")
    listed = inputs if isinstance(inputs, Sequence) else ()
    named = [item for item in listed if isinstance(item, Mapping)]
    ancestors = [_ancestor(item, f"{ref}/{number}") for number, item in enumerate(named, 1)]
    notes = f"{clean(made.get('verb', 'made'))} by {clean(made.get('method', 'an unknown method'))}"
    more = made.get("left_out")
    return {"ancestors": ancestors, "notes": notes + (f"; {more} more ancestors are not named" if more else "")}


def _ancestor(item: Mapping[str, Any], ref: str) -> Json:
    digest = str(item.get("content_digest", ""))
    about = {"role": item.get("role"), "content_digest": digest, **_table(item, "declared")}
    name, licence = item.get("name") or f"model {digest[:12]}", item.get("licence", UNKNOWN)
    found = _component(ref, f"{name}", f"{licence}", about, None)
    made = _table(item, "made")
    return found | ({"pedigree": _pedigree(made, ref)} if made else {})


def _table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table of a manifest, which may come from a stranger; an empty one where it is something else."""
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}


def _component(ref: str, name: str, licence: str, about: Mapping[str, object], revision: str | None) -> Json:
    said = {_PREFIX + key: f"{value}" for key, value in about.items() if value not in (None, "", False)}
    return {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": clean(name),
        **({"purl": _purl(name, revision)} if name.count("/") == 1 and "+" not in name else {}),
        **({"licenses": [{"license": _named(licence)}]} if licence != UNKNOWN else {}),
        **({"properties": [{"name": key, "value": clean(text)} for key, text in said.items()]} if said else {}),
    }


def _named(licence: str) -> Json:
    """Name a licence by its SPDX identifier, where it has one."""
    identifier = spdx_identifier(licence)
    return {"name": clean(licence)} if identifier is None else {"id": identifier}


def _purl(name: str, revision: str | None) -> str:
    owner, _, model = name.partition("/")
    return f"pkg:huggingface/{quote(owner)}/{quote(model)}" + (f"@{revision.lower()}" if revision else "")
