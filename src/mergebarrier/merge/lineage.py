"""What went in, told with what came out: the merge's part of the manifest and the model card.

No clock and no path enters: a model is named by its Hub id (from a cache folder) or by the name of its folder, and
identified by the digest of its content. Source: specification of Hugging Face model cards (``base_model``,
``base_model_relation: merge``). Differs from other mergers: they write no digests, no seed and no effective parameters.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from mergebarrier.checkpoint import Checkpoint, Expert
from mergebarrier.merge._data import DataMerge
from mergebarrier.merge._merge import Merge

_HUB_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)")


def reference(path: PurePath) -> str:
    """Name a model without its path: ``owner/name`` for a Hub cache folder, else the folder's name.

    Example:
      >>> reference(PurePath("hub/models--org--tiny/snapshots/0123")), reference(PurePath("out/expert_a"))
      ('org/tiny', 'expert_a')
    """
    for part in reversed(path.parts):
        found = _HUB_FOLDER.fullmatch(part)
        if found:
            return f"{found[1]}/{found[2]}"
    return path.name


def name_of(model: Checkpoint) -> str:
    """Name an opened model without its path; a base with an adapter by both names."""
    if isinstance(model, Expert):
        return f"{reference(model.base.path.absolute())}+{reference(model.adapter.path.absolute())}"
    return reference(model.path.absolute())


def parameters(method: Merge | DataMerge) -> dict[str, Any]:
    """Return every hyper-parameter, defaults included, in the types that JSON has."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(method).items()
    }


def common_licence(licences: Sequence[str]) -> str | None:
    """Return the licence that all inputs declare, None when they differ or one declares none."""
    first = licences[0] if licences else "unknown"
    return first if first != "unknown" and all(licence == first for licence in licences) else None


def model_card(
    method: Merge | DataMerge, inputs: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any] | None = None
) -> str:
    """Write the README.md of a merged model.

    Args:
      method: the merge method.
      inputs: in the order of the sources, each with "role", "name", "content_digest" and "licence".
      recipe: the recipe as data, shown instead of the parameters, which may differ from tensor to tensor.
    Returns: Markdown with a YAML head; every untrusted word is quoted.
    """
    names = list(dict.fromkeys(str(source["name"]) for source in inputs))
    licence = common_licence([str(source["licence"]) for source in inputs])
    head = ["---", "base_model:", *(f"- {_quoted(name)}" for name in names), "base_model_relation: merge"]
    head += [f"license: {_quoted(licence)}"] if licence else []
    head += ["library_name: transformers", "tags:", "- merge", "- mergebarrier", "---", ""]
    body = [
        f"# Merge by {method.name}",
        "",
        "| role | model | licence | content digest (SHA-256) |",
        "|---|---|---|---|",
    ]
    body += [
        f"| {source['role']} | {_cell(source['name'])} | {_cell(source['licence'])} | `{source['content_digest']}` |"
        for source in inputs
    ]
    if recipe is None:
        body += ["", "| parameter | value |", "|---|---|"]
        body += [f"| {name} | {_cell(json.dumps(value))} |" for name, value in parameters(method).items()]
    else:
        lines = yaml.safe_dump(dict(recipe), sort_keys=False).splitlines()
        body += ["", "The recipe:", "", *(f"    {line}" for line in lines)]
    conclusion = (
        "All inputs declare the same licence."
        if licence
        else "The inputs do not all declare one licence: read theirs before you publish this model."
    )
    body += ["", conclusion, "Digests of the output stand in `mergebarrier.json`.", ""]
    return "\n".join(head + body)


def _quoted(text: str) -> str:
    return json.dumps(text)  # ASCII JSON strings are YAML strings


def _cell(text: object) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in str(text))
    return re.sub(r"([\\|`*_<>\[\]#])", r"\\\1", shown)
