"""Strict YAML: data and nothing else, each key once, and no more values than a recipe has use for.

A recipe is untrusted. Plain ``safe_load`` keeps the last of two equal keys and expands aliases, so a kilobyte
can become gigabytes; here tags, repeated keys and deep nesting are refused with their line, before anything is built
from them.  Aliases and merge keys are read, and each counts as all that it stands for:

    values(alias) = values(its anchor)      depth(alias) = depth(its anchor)      one that holds itself is refused

Source: YAML 1.1 as PyYAML reads it. Differs: a date stays text, and a key is always text.
"""

import codecs
from typing import Any, ClassVar

import yaml

from mergebarrier.errors import BadRecipe, LimitExceeded, clean

MAX_BYTES = 2**20
_MAX_DEPTH = 16
_MAX_NODES = 20_000
_MAX_DIGITS = 64
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE_KEY = "tag:yaml.org,2002:merge"
#: What a fault of the parser speaks of -> the way out.
_ODD_SIGNS = {"'`'": "leave out the lines of ``` around the recipe", "'\\t'": "indent with blanks; YAML allows no tabs"}
_MAX_DOCUMENTS = 64


class _Refused(Exception):
    """What is wrong, where in the file, and what to do; turned into BadRecipe by ``read_yaml``."""

    def __init__(self, what: str, mark: Any, remedy: str) -> None:
        super().__init__(what)
        self.what, self.mark, self.remedy = what, mark, remedy


class _Loader(yaml.SafeLoader):
    """SafeLoader that counts, and that refuses what a recipe has no use for."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str, *, aliases: bool) -> None:
        super().__init__(text)
        self._aliases = aliases
        self._depth = self._values = 0
        # id of a finished node -> (the node, its values, its depth); the node is held so that its id stays its own.
        self._sizes: dict[int, tuple[yaml.Node, int, int]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if not self._aliases and (isinstance(event, yaml.AliasEvent) or event.anchor is not None):
            raise _Refused("anchors and aliases are not read here", event.start_mark, "write the value out")
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise _Refused("an alias inside of what it stands for", event.start_mark, "write the value out")
            _, values, depth = self._sizes[id(node)]
            self._count(values, depth, event)
            return node
        if event.tag is not None:
            raise _Refused(f"the tag {clean(event.tag)!r} is not read", event.start_mark, "remove the tag")
        before = self._values
        self._count(1, 1, event)
        self._depth += 1
        try:
            node = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        if node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:  # 1:1:1... is a number that takes minutes to build
            raise _Refused(f"a number of {len(node.value)} characters", event.start_mark, "write a shorter one")
        inner = node.value if isinstance(node, yaml.SequenceNode) else ()
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, merges=self._aliases)
            inner = [part for pair in node.value for part in pair]
        deepest = max((self._sizes[id(part)][2] for part in inner), default=0)
        self._sizes[id(node)] = node, self._values - before, 1 + deepest
        return node

    def _count(self, values: int, depth: int, event: Any) -> None:
        self._values += values
        deep = self._depth + depth > _MAX_DEPTH
        if deep or self._values > _MAX_NODES:
            what = f"nested deeper than {_MAX_DEPTH}" if deep else f"more than {_MAX_NODES} values"
            raise _Refused(what, event.start_mark, "write a smaller recipe")


def _check_keys(node: yaml.MappingNode, *, merges: bool) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag == _MERGE_KEY and not merges:
            raise _Refused("the merge key '<<' is not read here", key.start_mark, "write the values out")
        if key.tag not in ("tag:yaml.org,2002:str", _MERGE_KEY):
            raise _Refused("a key that is not text", key.start_mark, "put it into quotes")
        if key.value in seen:
            raise _Refused(f"the key {clean(key.value)!r} stands twice", key.start_mark, "keep one of them")
        seen.add(key.value)


def read_yaml(text: bytes, where: object) -> Any:
    """Parse one YAML document without anchors, such as the head of a card; else as ``read_documents``."""
    documents = read_documents(text, where, aliases=False)
    if len(documents) > 1:
        raise BadRecipe("several documents in one file", where=where, remedy="keep one of them")
    return documents[0] if documents else None


def read_documents(text: bytes, where: object, *, aliases: bool = True) -> list[Any]:
    """Parse YAML documents.

    Args:
      text:    UTF-8, at most 1 MiB.
      where:   named in errors.
      aliases: read anchors, aliases and merge keys; without it they are refused.
    Returns: None, bool, int, float, str, list and dict with text keys; what an alias stands for is there once, shared.
    Raises:  BadRecipe with the line; LimitExceeded.
    """
    if len(text) > MAX_BYTES:
        raise LimitExceeded(f"{len(text)} bytes, a recipe has at most {MAX_BYTES}", where=where, remedy="shorten it")
    try:
        wide = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as some editors and shells save it
        loader = _Loader(text.decode("utf-16" if wide else "utf-8"), aliases=aliases)
        try:
            found: list[Any] = []
            while loader.check_data():
                if len(found) == _MAX_DOCUMENTS:
                    raise _Refused(f"more than {_MAX_DOCUMENTS} documents", loader.peek_event().start_mark, "split it")
                found.append(loader.get_data())
            return found
        finally:
            loader.dispose()
    except _Refused as fault:
        raise BadRecipe(fault.what, where=_line(where, fault.mark), remedy=fault.remedy) from None
    except yaml.MarkedYAMLError as fault:
        what = clean(" ".join(part for part in (fault.context, fault.problem) if part)) or "not YAML"
        remedy = next((remedy for sign, remedy in _ODD_SIGNS.items() if sign in what), "repair the YAML")
        raise BadRecipe(what, where=_line(where, fault.problem_mark), remedy=remedy) from None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise BadRecipe(f"not YAML: {clean(fault)}", where=where, remedy="repair the file") from None


def _line(where: object, mark: Any) -> str:
    return f"{where}, line {mark.line + 1}" if mark is not None else str(where)
