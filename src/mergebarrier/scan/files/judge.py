"""From what a file is to what is said about it: one function per kind, one finding per file.

    link, pipe, device   MB7113        template   MB7109        other weights, unknown kinds   MB7112
    pickle, numpy, zip   MB7107        archive    MB7110        a kind that was not looked at  MB7100
    code, program        MB7108        unlisted safetensors     MB7111

Source: modelscan and picklescan for what counts as dangerous.  Differs: a file that nothing looked into is named.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from mergebarrier.errors import clean
from mergebarrier.scan.base import UNSEEN, Finding, Place, Severity, file_finding
from mergebarrier.scan.files.archives import ZipContents
from mergebarrier.scan.files.dotted import Pairs, code_named_in, code_named_in_yaml, severity_of
from mergebarrier.scan.files.foreign_templates import foreign_reaches, is_foreign
from mergebarrier.scan.files.kinds import FileKind
from mergebarrier.scan.files.other_weights import reaching_in, templates_in
from mergebarrier.scan.files.pickles import MISSING, Imports
from mergebarrier.scan.files.templates import TemplateUse, reaches

#: Files beside the weights that loaders read templates from, by the end of the name.
_TEMPLATE_ENDS: Final = (".jinja", ".jinja2", ".j2")
#: Long tables that hold no template; they are not parsed a second time.
_SIDES: Final = re.compile(r"[/!]")
#: JSON, and files of a JSON text a line.
_JSON: Final = (".json", ".jsonc", ".json5")
_LINES: Final = (".jsonl", ".ndjson")
_NO_TEMPLATE: Final = ("tokenizer.json", "vocab.json", "added_tokens.json")
_SAID: Final[dict[str, tuple[str, str, Severity | None]]] = {
    "code": ("MB7108", "source code; a loader that trusts code from a model runs it", "medium"),
    "page": (
        "MB7108",
        "a text with code in it, which a browser or another program runs when it is opened",
        "medium",
    ),
    "executable": ("MB7108", "a program for a machine, which no model needs", "high"),
    "archive": ("MB7110", "an archive, in which pickles and texts that loaders read were looked for", "medium"),
    "weights": ("MB7112", "weights of another format, which no check here reads", "medium"),
    "unknown": ("MB7112", "of no kind that is known here, and not looked into", "info"),
    "safetensors": ("MB7111", "weights that the model does not name; they were not looked at", "medium"),
}


def of_kind(model: str, file: str, kind: FileKind) -> Finding | None:
    """Return what is said of a file for its kind alone; None for kinds that say nothing."""
    if kind not in _SAID:
        return None
    rule, words, severity = _SAID[kind]
    return file_finding(rule, model, f"{clean(file)} is {words}", Place(file), severity=severity)


def of_beginning(model: str, file: str, cap_bytes: int) -> Finding:
    """Return what is said of a long file of lines: data, of which the beginning was looked at."""
    words = f"{clean(file)} is longer than {cap_bytes >> 20} MiB, and its beginning alone was looked at"
    return file_finding("MB7112", model, words, Place(file), severity="info")


def odd_entry(model: str, file: str, what: str, *, leads_out: bool, target: str = "") -> Finding:
    """Return what is said of a link, which leads to ``target``, or of something that is no file."""
    grave: Severity = "critical" if leads_out else "high"
    evidence = {"target": clean(target)} if target else None
    return file_finding("MB7113", model, f"{clean(file)} is {what}", Place(file), severity=grave, evidence=evidence)


def unseen(model: str, file: str, why: str) -> Finding:
    """Return the finding that something was not looked at."""
    return file_finding(UNSEEN, model, f"{clean(file)} could not be looked at: {why}".lstrip(), Place(file))


def of_pickle(
    model: str, file: str, found: Imports, *, sure: bool, packed: bool = False, encoded: bool = False
) -> Finding | None:
    """Judge what a pickle would import.

    Args:
      model:  its name.
      file:   of the model.
      found:  by picklescan.
      sure:   whether the file claims to be a pickle; of others only what is dangerous is said.
      packed: whether it is an archive, of which a loader may take what comes before the fault that stopped us.
      encoded: whether it is a text, in which pickles stand in base64.
    """
    name, at = clean(file), Place(file)
    if found.dangerous:
        what = "holds a pickle in base64" if encoded else "is a pickle"
        words = f"{name} {what} that would run code when it is loaded: {clean(found.words())}"
        return file_finding("MB7107", model, words, at, severity="critical", evidence={"imports": found.words()})
    if not found.looked:
        return unseen(model, file, found.error) if sure or packed or found.error != MISSING else None
    if packed and found.error and not sure:
        return unseen(model, file, found.error)
    if not sure:
        return None
    if found.error:
        words = f"{name} is a pickle that picklescan could not follow ({clean(found.error)})"
        return file_finding("MB7107", model, words, at, severity="high")
    if found.unknown:
        words = f"{name} is a pickle with imports that are on no list: {clean(found.words())}"
        return file_finding("MB7107", model, words, at, severity="medium", evidence={"imports": found.words()})
    words = f"{name} is a pickle; what it imports is known to be harmless"
    return file_finding("MB7107", model, words, at, severity="low")


def of_zip(model: str, file: str, found: ZipContents) -> Finding:
    """Judge the table of contents of a zip file."""
    at, severity = Place(file), "high"
    if found.problem:
        return unseen(model, file, f"a zip file, and {found.problem}")
    if found.outside:
        words = f"holds {clean(found.outside)!r}, which is a link or leads out of the folder that it is unpacked in"
    elif found.bomb:
        words = "unpacks to more than 200 times its size"
    elif found.program:
        words = f"holds a program, {clean(found.program)!r}"
    else:
        words, severity = f"is an archive of {found.members} members, whose pickles and texts were looked for", "medium"
    graver: Severity = "high" if severity == "high" else "medium"
    return file_finding("MB7110", model, f"{clean(file)} {words}", at, severity=graver)


def of_members(model: str, file: str, found: Imports) -> Iterator[Finding]:
    """Judge the texts of an archive as if they lay beside the weights, and what in it nothing here unpacks."""
    for name, text in found.texts:
        # The archive is the file that there is; the member is named in the words.
        yield from (replace(one, file=clean(file), line=None) for one in of_text(model, f"{file}!{name}", text))
    for name in found.outside[:1]:
        words = f"{clean(file)} holds {clean(name)!r}, which leads out of the folder that it is unpacked in"
        yield file_finding("MB7110", model, words, Place(file), severity="high")
    for name in found.closed:
        yield unseen(model, file, f"{clean(name) or 'it'} is an archive of a kind that is not unpacked here")


def of_other_weights(model: str, file: str, data: bytes) -> Iterator[Finding]:
    """Judge the first bytes of weights of another format: templates in them, and what reaches code or files."""
    for template in templates_in(data):
        yield from (replace(one, line=None) for one in _of_templates(model, file, [(0, template)]))
    for words in reaching_in(data):
        said = f"{clean(file)} holds {words}"
        yield file_finding("MB7106", model, said, Place(file), severity="high", evidence={"code": words})


def of_text(model: str, file: str, text: str) -> Iterator[Finding]:
    """Judge the templates and the names of code in a text."""
    if has_templates(file):
        yield from of_templates(model, file, text)
    yield from of_named_code(model, file, text)


def has_templates(file: str) -> bool:
    """Say whether loaders take templates from a file of this name."""
    bare = _SIDES.split(file)[-1].lower()
    listed = bare.endswith((*_JSON, *_LINES)) and bare not in _NO_TEMPLATE and not bare.endswith(".index.json")
    return listed or bare.endswith(_TEMPLATE_ENDS) or "template" in bare or is_foreign(file)


def of_templates(model: str, file: str, text: str) -> Iterator[Finding]:
    """Judge every template in a file, by its name a template or JSON; one finding per kind of reach."""
    if is_foreign(file):
        yield from _told(model, file, ((reach.line, reach) for reach in foreign_reaches(file, text)))
    elif file.lower().endswith((*_JSON, *_LINES)):
        yield from _of_templates(model, file, _in_documents(file, text))
    else:
        yield from _told(model, file, ((reach.line, reach) for reach in reaches(text)))


def _of_templates(model: str, file: str, templates: Iterable[tuple[int, str]]) -> Iterator[Finding]:
    yield from _told(model, file, ((line, reach) for line, template in templates for reach in reaches(template)))


def _told(model: str, file: str, found: Iterable[tuple[int, TemplateUse]]) -> Iterator[Finding]:
    said: dict[str, None] = {}
    for line, reach in found:
        if reach.what not in said:
            said[reach.what] = None
            words = f"{clean(file)}: a template {clean(reach.what)}"
            evidence = {"code": reach.what}
            yield file_finding("MB7109", model, words, Place(file, line), severity=reach.severity, evidence=evidence)


def of_named_code(model: str, file: str, text: str) -> Iterator[Finding]:
    """Judge what code a JSON or YAML file names; one finding per name, on its line where it is found."""
    bare = _SIDES.split(file)[-1].lower()
    named: Iterator[str] = iter(())
    if bare.endswith((".yaml", ".yml")):
        named = code_named_in_yaml(text)
    elif bare.endswith((*_JSON, *_LINES)) and bare not in _NO_TEMPLATE:
        documents = (_pairs_of(one) for _, one in _documents(file, text))
        named = iter(dict.fromkeys(name for one in documents for name in code_named_in(file, one)))
    for name in named:
        at = text.find(json.dumps(name.rpartition(": ")[2]))
        place = Place(file, text.count("\n", 0, at) + 1 if at >= 0 else None)
        words, grave = f"{clean(name)} of {clean(file)} names code", severity_of(name)
        yield file_finding("MB7106", model, words, place, severity=grave, evidence={"code": name})


def _pairs_of(text: str) -> object:
    """Return a JSON text with every pair of every table; what is no JSON holds nothing that a loader would find."""
    try:
        document: object = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        return None
    return document


def has_lines(file: str) -> bool:
    """Say whether a file of this name holds a JSON text a line."""
    return file.lower().endswith(_LINES)


def is_structured(file: str) -> bool:
    """Say whether a file of this name is a text of tables, which may name code."""
    return file.lower().endswith((*_JSON, *_LINES, ".yaml", ".yml"))


def _documents(file: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield (lines before it, text) of every JSON text in a file."""
    yield from enumerate(text.split("\n")) if file.lower().endswith(_LINES) else [(0, text)]


def _in_documents(file: str, text: str) -> Iterator[tuple[int, str]]:
    for before, document in _documents(file, text):
        yield from ((before + line, template) for line, template in _in_json(document))


def _in_json(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, template) of a JSON text, at any depth; what is no JSON holds none that a loader would find."""
    if "template" not in text and "\\u" not in text:
        return
    line = text[: max(0, text.find("chat_template"))].count("\n") + 1
    document = _pairs_of(text)
    if document is None:  # some loader may read what is no JSON to us, such as one with remarks
        yield line - 1, text
    todo: list[tuple[object, bool]] = [(document, False)]
    while todo:
        item, inside = todo.pop()
        if isinstance(item, Pairs):
            todo += [(value, inside or "template" in key) for key, value in item]
        elif isinstance(item, list):
            todo += [(value, inside) for value in item]
        elif isinstance(item, str) and inside and "{" in item:
            yield line, item
