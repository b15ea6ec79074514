"""The model card of a merge, which names its inputs and checks; made from the manifest alone.

No clock and no path enters: a model is named by its Hub id (from a cache folder) or by the name of its folder, and
identified by the digest of its content. Source: specification of Hugging Face model cards (``base_model``,
``base_model_relation: merge``). Differs from other mergers: they write no digests, no licence and no seed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from mergebarrier.lineage.declaration import ATTACK_TAG

#: Licences of our tables for which model cards have no identifier.
_NOT_ON_HUB = ("qwen", "qwen-research", "tongyi-qianwen", "tongyi-qianwen-research")


def model_card(content: Mapping[str, Any]) -> str:
    """Write the README.md of a merged model.

    Args:
      content: of the manifest, without the output: "method", "parameters" or "recipe", "inputs" (each with "role",
               "name", "licence", "content_digest"), "licence", "checks", "version".
    Returns: Markdown with a YAML head; every untrusted word is quoted or escaped.
    """
    lines = [*_head(content), f"# Merge by {_cell(content['method'])}", "", *_inputs(content["inputs"])]
    lines += _asked(content)
    lines += ["", "## Licence", "", *_licence(content)]
    lines += ["", "## Checks", "", *_checks(content.get("checks", {}))]
    lines += [
        "",
        f"Made by mergebarrier {_cell(content['version'])}. Digests of every input and output, effective parameters "
        "and versions stand in `mergebarrier.json`.",
        "",
    ]
    return "\n".join(lines)


def _head(content: Mapping[str, Any]) -> Iterator[str]:
    adapter = content.get("output_kind") == "adapter"
    yield from ("---", "base_model:")
    names = list(dict.fromkeys(str(item["name"]) for item in content["inputs"]))
    # A base with an adapter is listed by its parts, which have names of their own.
    whole = [name for name in names if "+" not in name or any(part not in names for part in name.split("+"))]
    # An adapter belongs to the base that its parts were trained on.
    trained_on = [item["trained_on"] for item in content["inputs"] if item.get("trained_on")]
    yield from (f"- {_quoted(name)}" for name in (dict.fromkeys(trained_on) if adapter and trained_on else whole))
    yield f"base_model_relation: {'adapter' if adapter else 'merge'}"
    licence = content["licence"]["licence"]
    if licence in _NOT_ON_HUB:
        yield from ("license: other", f"license_name: {_quoted(licence)}")
    else:
        yield f"license: {_quoted(licence or 'unknown')}"
    yield from (f"library_name: {'peft' if adapter else 'transformers'}", "tags:", "- merge", "- mergebarrier")
    yield from ["- lora"] if adapter else []
    if content.get(ATTACK_TAG):
        yield f"- {ATTACK_TAG}"
    if content.get("checks", {}).get("suspect"):
        yield "- suspect"
    yield from ("---", "")


def _inputs(inputs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("| role | model | licence | content digest (SHA-256) |", "|---|---|---|---|")
    for item in inputs:
        cells = (_cell(item["role"]), _cell(item["name"]), _cell(item["licence"]), f"`{item['content_digest']}`")
        yield f"| {' | '.join(cells)} |"


def _asked(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield the recipe, or the parameters, the seed among them."""
    yield ""
    if "recipe" in content:
        yield from ("The recipe:", "")
        for line in yaml.safe_dump(dict(content["recipe"]), sort_keys=False).splitlines():
            yield f"    {line}"
        return
    yield from ("| parameter | value |", "|---|---|")
    for name, value in content.get("parameters", {}).items():
        yield f"| {_cell(name)} | {_cell(json.dumps(value))} |"
    for line in content.get("data", ()):
        yield f"| data of {_cell(line['expert'])} | {_cell(line['file'])}, {line['rows']} rows |"


def _licence(content: Mapping[str, Any]) -> Iterator[str]:
    found = content["licence"]
    verdict = f"**{found['verdict']}**" + (f": {found['licence']}" if found["licence"] else "")
    yield f"{verdict}. {_cell(found['reason'])}."
    if not found["licence"]:
        yield "Read the licences of all inputs before this model is passed on."
    for wish in found["acknowledged"]:
        yield f"Merged all the same, by acknowledgement: {_cell(wish)}."
    if content.get(ATTACK_TAG):
        yield ""
        yield "**An input is marked as made by an attack on merges. This is research material, not a model to use.**"


def _checks(checks: Mapping[str, Any]) -> Iterator[str]:
    weights = checks.get("weights")
    if weights:
        yield f"Length against the mean of the inputs: {weights['norm_ratio']:g}, from {weights['tensors']} tensors."
        cosines = ", ".join(f"{_cell(name)} {value:g}" for name, value in weights["cosine"].items())
        yield f"Cosine to each input: {cosines}."
    perplexity = checks.get("perplexity")
    if perplexity:
        theirs = ", ".join(f"{_cell(name)} {value}" for name, value in perplexity["inputs"].items())
        yield f"Perplexity on {perplexity['text']}: {perplexity['merged']} (inputs: {theirs})."
    if "residual" in checks:
        yield f"Share of the update that the ranks leave out (residual): {checks['residual']:g}."
    if "cross_terms" in checks:
        yield f"Cross terms of factors that were merged apart, as a share of the update: {checks['cross_terms']:g}."
    if checks.get("suspect"):
        yield ""
        yield "**Suspect: on this text the merge is far worse than the worst of its inputs.**"
    warnings = checks.get("warnings", [])
    yield from ("", *(f"- {_cell(line)}" for line in warnings)) if warnings else ("", "No warnings.")


def _quoted(text: str) -> str:
    return json.dumps(text)  # ASCII JSON strings are YAML strings


def _cell(text: object) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in str(text))
    shown = re.sub(r"([\\|`*_<>\[\]#~&])", r"\\\1", shown)
    for sign, entity in (("://", "&#58;//"), ("www.", "www&#46;"), ("@", "&#64;")):  # a bare address becomes a link
        shown = shown.replace(sign, entity)
    return shown
