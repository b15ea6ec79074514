"""Templates in files of other servers than transformers: YAML, TOML, Modelfiles and prompts, in whatever language.

    strings of a YAML or TOML file that hold a tag, else the whole text  ->  a template
    one that is no Jinja, as those of Go are                             ->  each of its tags, as a template

Who renders them, and how, is unknown, so that only what a template of Jinja would need to reach internals or other
files counts.  Source: the tasks of lm-evaluation-harness, whose YAML is rendered without a sandbox; Prompty; LocalAI.
Differs: no key is asked, since every tool has its own.
"""

import re
import tomllib
from collections.abc import Iterator
from typing import Final

import yaml

from mergebarrier.scan.files.templates import MAX_TEMPLATE_CHARS, TemplateUse, reaches

_WHOLE: Final = tuple(".tpl .tmpl .gotmpl .mustache .hbs .handlebars .liquid .prompt .prompty .modelfile".split())
_TABLES: Final = (".yaml", ".yml", ".toml")
_OPENS: Final = re.compile(r"\{[{%]")
_CLOSES: Final = re.compile(r"[}%]\}")
_MAY_HOLD_TAG: Final = re.compile(r"\{[{%]|\\[xuU][0-9a-fA-F]*7[bB]")
_MOST: Final = 500
_DEEPEST: Final = 64
_GRAVE: Final = ("critical", "high")
#: With the parser that is written in C, where it is there.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def is_foreign(file: str) -> bool:
    """Say whether a file of this name may hold templates for other servers."""
    bare = re.split("[/!]", file)[-1].lower()
    return bare.endswith((*_TABLES, *_WHOLE)) or bare.partition(".")[0] == "modelfile"


def foreign_reaches(file: str, text: str) -> Iterator[TemplateUse]:
    """Yield what the templates in such a file reach for, on their lines."""
    if not _MAY_HOLD_TAG.search(text):
        return
    strings = {said: line for line, said in _strings(file, text) if _OPENS.search(said)}
    if len(strings) > _MOST:
        yield TemplateUse(1, f"is one of more than {_MOST} in this file, which were not looked at", "high")
        return
    for said, line in strings.items():
        for found in _reaches(said):
            yield TemplateUse(line + found.line, found.what, found.severity)


def _reaches(text: str) -> Iterator[TemplateUse]:
    found = reaches(text)
    if not all(one.parsed for one in found):
        tags = list(_tags(text))
        if len(tags) > _MOST:
            found = (TemplateUse(1, f"has more than {_MOST} tags, which were not looked at", "high"),)
        else:
            pieces = [(text.count("\n", 0, at), one) for at, tag in tags for one in reaches(tag)]
            found = tuple(TemplateUse(before + one.line, one.what, one.severity) for before, one in pieces)
    yield from (one for one in found if one.severity in _GRAVE)


def _tags(text: str) -> Iterator[tuple[int, str]]:
    """Yield (where it begins, tag) of every tag that ends."""
    at = 0
    while (opened := _OPENS.search(text, at)) and (closed := _CLOSES.search(text, opened.end())):
        at = closed.end()
        yield opened.start(), text[opened.start() : at]


def _strings(file: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield (lines before it, string) of a table; of what is none, or is too long to be parsed, the whole text."""
    end = file.lower().rpartition(".")[2]
    found: list[tuple[int, str]] | None = None
    if f".{end}" in _TABLES and len(text) <= MAX_TEMPLATE_CHARS:
        found = _in_toml(text) if end == "toml" else _in_yaml(text)
    yield from [(0, text)] if found is None else found


def _in_yaml(text: str) -> list[tuple[int, str]] | None:
    """Return the scalars of a YAML text, from which nothing is made; None where it is none, or too deep to be read."""
    found, depth = list[tuple[int, str]](), 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                return None
            if isinstance(event, yaml.ScalarEvent):
                found.append((event.start_mark.line, event.value))
    except (yaml.YAMLError, ValueError):
        return None
    return found


def _in_toml(text: str) -> list[tuple[int, str]] | None:
    try:
        todo: list[object] = [tomllib.loads(text)]
    except (ValueError, RecursionError):
        return None
    found: list[tuple[int, str]] = []
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo += [*item, *item.values()]
        elif isinstance(item, list):
            todo += item
        elif isinstance(item, str):
            found.append((0, item))
    return found
