"""What a merge says about itself: which licence covers them, and the card with all of it.

A merge takes the licence of one of its inputs or none: never one that no input has, and never the laxest.

    result = the R among the inputs such that every other licence L has R in MAY_BECOME[L]
    conflict = some pair of kinds is in CLASHES, or an input allows no derivatives;   unknown = everything else

No clock and no path enters: a model is named by its Hub id or by the name of its folder.
Source: specification of Hugging Face model cards (``base_model``, ``base_model_relation: merge``).  Differs: other
mergers write no digests, no licence, no wish and no seed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mergebarrier.lineage.card import ATTACK_TAG, WISH_TAG
from mergebarrier.lineage.licence import KIND_OF, KINDS, MAY_BECOME, NO_DERIVATIVES, UNKNOWN

COMPATIBLE: Final = "compatible"
CONFLICT: Final = "conflict"

#: pairs of kinds, in this order, whose demands exclude each other -> why.
CLASHES: Mapping[tuple[str, str], str] = {
    ("copyleft", "non-commercial"): "the one forbids further restrictions, the other restricts use",
    ("copyleft", "non-commercial-share-alike"): "each asks for the whole under itself",
    ("copyleft", "use-restricted"): "the one forbids further restrictions, the other restricts use",
    ("copyleft", "community"): "the one forbids further restrictions, the other restricts use",
    ("share-alike", "non-commercial"): "the one allows nothing to be added, the other restricts use",
    ("share-alike", "non-commercial-share-alike"): "each asks for the whole under itself",
    ("share-alike", "use-restricted"): "the one allows nothing to be added, the other restricts use",
    ("share-alike", "community"): "each asks for the whole under itself",
    ("non-commercial-share-alike", "use-restricted"): "the one allows nothing to be added, the other restricts use",
    ("non-commercial-share-alike", "community"): "each asks for the whole under itself",
}
#: The same for single licences.
_PAIRS: Mapping[tuple[str, str], str] = {
    ("apache-2.0", "gpl-2.0"): "the patent terms of the one are a further restriction to the other",
}


@dataclass(frozen=True)
class Conclusion:
    """What the licences of the inputs mean for the merge.

    Attributes:
      verdict: "compatible", "conflict" or "unknown".
      licence: of the merge; None without a verdict of "compatible".
      reason:  one sentence for people.
      stops:   whether an input allows no derivatives: the merge needs an acknowledgement.
    """

    verdict: str
    licence: str | None
    reason: str
    stops: bool = False


def refused(name: str, why: str) -> Conclusion:
    """Return what follows from an input that forbids derivatives, wherever it says so."""
    return Conclusion(CONFLICT, None, f"{why} of {name} allows no derivatives to be shared, and a merge is one", True)


def conclude(inputs: Sequence[tuple[str, str]]) -> Conclusion:
    """Judge a merge.

    Args:
      inputs: (name for people, licence as ``known`` returns it) of every input, the base among them.
    Returns: Conclusion; the same for any order of the inputs but for the wording.
    """
    for name, licence in inputs:
        if licence in NO_DERIVATIVES:
            return Conclusion(CONFLICT, None, f"{licence} of {name} {_asks(licence)}", stops=True)
    holders: dict[str, str] = {}
    for name, licence in inputs:
        holders.setdefault(licence, name)
    licences = [licence for licence in holders if licence != UNKNOWN]
    for i, one in enumerate(licences):
        for other in licences[i + 1 :]:
            why = _clash(one, other)
            if why is not None:
                what = f"{one} of {holders[one]} and {other} of {holders[other]} exclude each other: {why}"
                return Conclusion(CONFLICT, None, what)
    if UNKNOWN in holders or not holders:
        nobody = holders.get(UNKNOWN, "no input")
        return Conclusion(UNKNOWN, None, f"{nobody} declares no licence that is in the table; ask its owner")
    if len(licences) == 1:
        return Conclusion(COMPATIBLE, licences[0], f"all inputs are under {licences[0]}, which {_asks(licences[0])}")
    for result in licences:
        if all(other == result or result in MAY_BECOME.get(other, ()) for other in licences):
            others = ", ".join(sorted(other for other in licences if other != result))
            what = f"{others} may become part of a work under {result}, which {_asks(result)}"
            return Conclusion(COMPATIBLE, result, f"{what}; the notices of every input stay with it")
    listed = ", ".join(sorted(licences))
    return Conclusion(UNKNOWN, None, f"the table knows no one of {listed} that covers the others; each of them applies")


def _asks(licence: str) -> str:
    return KINDS[KIND_OF[licence]][0]


def _clash(one: str, other: str) -> str | None:
    kinds = (KIND_OF[one], KIND_OF[other])
    for table, pair in ((_PAIRS, (one, other)), (CLASHES, kinds)):
        why = table.get(pair) or table.get((pair[1], pair[0]))
        if why is not None and not (other in MAY_BECOME.get(one, ()) or one in MAY_BECOME.get(other, ())):
            return why
    return None


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
    lines += ["", "## Licence", "", *_licence_lines(content)]
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
    if any(item.get("declared", {}).get("do_not_merge") for item in content["inputs"]):
        yield f"- {WISH_TAG}"
    if content.get("checks", {}).get("suspect"):
        yield "- suspect"
    yield from ("---", "")


def _inputs(inputs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("| role | model | licence | tree digest (BLAKE3) |", "|---|---|---|---|")
    for item in inputs:
        cells = (_cell(item["role"]), _cell(item["name"]), _cell(item["licence"]), f"`{item['content_digest']}`")
        yield f"| {' | '.join(cells)} |"


def _asked(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield the recipe, or the parameters, the seed among them."""
    import yaml

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


def _licence_lines(content: Mapping[str, Any]) -> Iterator[str]:
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
