"""How a model is called and what it says about itself, and the model card that a merge writes about its own output.

Read: licence, do-not-merge wish, marks of protection and of an attack.  All of it is untrusted, so a card is read as
strict YAML within small bounds, and one that breaks them says nothing: its licence is "unknown" and the reason is kept;
as it is where a card and a LICENSE file name different licences.  Written: inputs and checks, from the manifest alone.
No clock and no path enters: a model is named by its Hub id (from a cache folder) or by the name of its folder.

    wish = ``mergebarrier: {do_not_merge: true}`` in the head of README.md, or a tag ``no-merge`` or ``do-not-merge``

Source: specification of Hugging Face model cards (license, license_name, license_link, tags, ``base_model``,
``base_model_relation: merge``). Differs: the wish and the tag ``merge-protected`` are our own convention; other mergers
write no digests, no licence and no seed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mergebarrier.checkpoint import LICENCE_FILES
from mergebarrier.errors import MergebarrierError, clean
from mergebarrier.lineage.licence import UNKNOWN, allows_derivatives, known
from mergebarrier.lineage.licence_texts import identify


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Number the names that occur more than once, so that each means one model.

    Example: >>> unique(["a", "b", "a"])
             ('a#1', 'b', 'a#3')
    """
    return tuple(name if names.count(name) == 1 else f"{name}#{i}" for i, name in enumerate(names, 1))


CARD: Final = "README.md"
ATTACK_TAG: Final = "attack-artifact"
PROTECTED_TAG: Final = "merge-protected"
WISH_TAGS: Final = ("no-merge", "do-not-merge")

_MAX_HEAD_BYTES = 1 << 17
_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?---[ \t]*\r?\n")
_END = re.compile(rb"^(?:---|\.\.\.)[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True)
class Declaration:
    """What one input says about itself; every text is escaped and short.

    Attributes:
      licence:      identifier of ``licence.KINDS``, or "unknown".
      written:      the card's ``license``, else the name of the file that it was read from; "" for neither.
      name:         ``license_name``.
      link:         ``license_link``.
      reason:       why the licence is unknown; "" when it is known.
      do_not_merge: the words of the wish, "" when there is none.
      protected:    whether the owner says that the model is protected against merging.
      attack:       whether the model is marked as made by an attack.
    """

    licence: str = UNKNOWN
    written: str = ""
    name: str = ""
    link: str = ""
    reason: str = "there is neither a model card with a licence nor a licence file"
    do_not_merge: str = ""
    protected: bool = False
    attack: bool = False

    @property
    def stops(self) -> str:
        """Return why this input must not be merged without an acknowledgement, "" when nothing says so."""
        if self.do_not_merge:
            return f"its owner asks not to merge it ({self.do_not_merge})"
        return "" if allows_derivatives(self.licence) else f"its licence {self.licence} allows no derivatives"


def declaration(files: Mapping[str, bytes], manifest: Mapping[str, object] | None = None) -> Declaration:
    """Read what a model says about itself.

    Args:
      files:    name -> bytes of its README.md and licence files, those that it has.
      manifest: content of its ``mergebarrier.json``, where there is one.
    Returns: Declaration; never raises for malformed declarations.
    """
    head, fault = _front_matter(files.get(CARD, b""))
    said = _licence(head, fault, files)
    tags = [tag for tag in _list(head.get("tags")) if isinstance(tag, str)]
    marks = {tag.strip().lower(): None for tag in tags}
    ours = head.get("mergebarrier")
    table = ours if isinstance(ours, dict) else {}
    wish = next((f"tag {tag}" for tag in WISH_TAGS if tag in marks), "")
    if table.get("do_not_merge") not in (None, False):
        wish = "mergebarrier.do_not_merge"
    content = manifest or {}
    attack = ATTACK_TAG in marks or content.get(ATTACK_TAG) is True or head.get(ATTACK_TAG) is True
    protected = PROTECTED_TAG in marks or content.get("verb") == "protect"
    return replace(said, do_not_merge=wish, protected=protected, attack=attack)


def _licence(head: Mapping[str, object], fault: str, files: Mapping[str, bytes]) -> Declaration:
    written = _list(head.get("license"))
    name, link = (clean(head.get(key) or "") for key in ("license_name", "license_link"))
    file = next((file for file in LICENCE_FILES if file in files), None)
    by_text = identify(files[file]) if file is not None else UNKNOWN
    if fault:
        return Declaration(reason=f"its model card cannot be read: {fault}", written=file or "")
    if len(written) > 1:
        listed = clean(", ".join(map(str, written)))
        return Declaration(UNKNOWN, listed, name, link, f"its card names several licences: {listed}")
    said = clean(written[0]) if written else ""
    by_card = known(said)
    if by_card == UNKNOWN and name:
        by_card = known(name)
    if UNKNOWN not in (by_card, by_text) and not _agree(by_card, by_text):
        reason = f"its card says {by_card}, its {file} reads {by_text}"
        return Declaration(UNKNOWN, said, name, link, reason)
    licence = by_card if by_card != UNKNOWN else by_text
    if licence == UNKNOWN:
        reason = Declaration().reason
        if said or name:
            reason = f"its licence {said}{f' ({name})' if name else ''} is not in the table"
        elif file is not None:
            reason = f"its {file} is none of the texts that are known"
        return Declaration(UNKNOWN, said or file or "", name, link, reason)
    return Declaration(licence, said or file or "", name, link, "")


def _agree(by_card: str, by_text: str) -> bool:
    """Say whether two identifiers may mean one text: the same, or a family and a member of it."""
    return by_card == by_text or (by_card == "openrail" and "rail" in by_text)


def _front_matter(card: bytes) -> tuple[dict[str, object], str]:
    """Return the head of a model card and, when it cannot be read, why."""
    from mergebarrier.checkpoint.bytes import read_yaml  # loads a parser, which names of models do without

    start = _HEAD.match(card)
    if start is None:
        return {}, ""
    end = _END.search(card, start.end(), start.end() + _MAX_HEAD_BYTES)
    if end is None:
        return {}, f"its head does not end within {_MAX_HEAD_BYTES} bytes"
    try:
        document = read_yaml(card[start.end() : end.start()], CARD)
    except MergebarrierError as error:
        return {}, clean(error.what)
    if document is None or isinstance(document, dict):
        return document or {}, ""
    return {}, "its head is no table"


def _list(value: object) -> list[object]:
    return [] if value is None else value if isinstance(value, list) else [value]


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
