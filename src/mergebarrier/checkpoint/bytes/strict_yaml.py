"""Strict YAML: data and nothing else, each key once, nothing referred to twice.

A recipe is untrusted. Plain ``safe_load`` keeps the last of two equal keys and expands aliases, so a kilobyte
can become gigabytes; here anchors, aliases, tags, merge keys, repeated keys, deep nesting and several documents in one
file are refused with their line, before anything is built from them.

Source: YAML 1.1 as PyYAML reads it. Differs: a date stays text, and a key is always text.
"""

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
_WRITE_OUT = "write every value where it is used"


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

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _Refused("anchors and aliases are not read", event.start_mark, _WRITE_OUT)
        if event.tag is not None:
            raise _Refused(f"the tag {clean(event.tag)!r} is not read", event.start_mark, "remove the tag")
        self._nodes += 1
        if self._depth >= _MAX_DEPTH or self._nodes > _MAX_NODES:
            what = f"nested deeper than {_MAX_DEPTH}" if self._depth >= _MAX_DEPTH else f"more than {_MAX_NODES} values"
            raise _Refused(what, event.start_mark, "write a smaller recipe")
        self._depth += 1
        try:
            node = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        if node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:  # 1:1:1... is a number that takes minutes to build
            raise _Refused(f"a number of {len(node.value)} characters", event.start_mark, "write a shorter one")
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        seen: dict[str, None] = {}
        for key, _ in node.value:
            if key.tag == _MERGE_KEY:
                raise _Refused("the merge key '<<' is not read", key.start_mark, _WRITE_OUT)
            if key.tag != "tag:yaml.org,2002:str":
                raise _Refused("a key that is not text", key.start_mark, "put it into quotes")
            if key.value in seen:
                raise _Refused(f"the key {clean(key.value)!r} stands twice", key.start_mark, "keep one of them")
            seen[key.value] = None
        table: dict[str, Any] = super().construct_mapping(node, deep=deep)
        return table


def read_yaml(text: bytes, where: object) -> Any:
    """Parse one YAML document.

    Args:
      text:  UTF-8, at most 1 MiB.
      where: named in errors.
    Returns: None, bool, int, float, str, list and dict with text keys.
    Raises:  BadRecipe with the line; LimitExceeded.
    """
    if len(text) > MAX_BYTES:
        raise LimitExceeded(f"{len(text)} bytes, a recipe has at most {MAX_BYTES}", where=where, remedy="shorten it")
    try:
        loader = _Loader(text.decode("utf-8"))
        try:
            document = loader.get_data() if loader.check_data() else None
            if loader.check_data():
                remedy = "give one file per merge, and the output folder of one as a model of the next"
                raise _Refused("several documents in one file", loader.peek_event().start_mark, remedy)
            return document
        finally:
            loader.dispose()
    except _Refused as fault:
        raise BadRecipe(fault.what, where=_line(where, fault.mark), remedy=fault.remedy) from None
    except yaml.MarkedYAMLError as fault:
        what = clean(" ".join(part for part in (fault.context, fault.problem) if part)) or "not YAML"
        raise BadRecipe(what, where=_line(where, fault.problem_mark), remedy="repair the YAML") from None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise BadRecipe(f"not YAML: {clean(fault)}", where=where, remedy="repair the file") from None


def _line(where: object, mark: Any) -> str:
    return f"{where}, line {mark.line + 1}" if mark is not None else str(where)
