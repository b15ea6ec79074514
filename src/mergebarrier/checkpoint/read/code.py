"""Folders that name code: read with the stock class, without those keys, where there is one; else refused.

A key that loaders follow only where they are told to trust the folder says nothing about weights that a stock class
takes.  Such a folder is read without it and no output gets it; the files of code stay behind.  A key that loaders
follow unasked (a kernel, an attention from a hub), or a class that no table of ours knows, is refused.

    dropped  <=>  key in {auto_map, custom_pipelines},  config.json names a class of the tables, at every depth,
                  and, of a tokenizer, tokenizer.json holds what every stock tokenizer reads

Source: CVE-2026-4372.  Differs from a loader, which asks whether to trust: no flag of ours runs code.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from mergebarrier.checkpoint.read.texts import code_keys, read_json
from mergebarrier.errors import RemoteCodeRefused, clean

#: Keys that loaders follow only where they are told to trust the folder.
_ON_TRUST = frozenset({"auto_map", "custom_pipelines"})
_TOKENIZER, _PIECES = "tokenizer_config.json", "tokenizer.json"
_CONVERT = "convert the model to a stock class of transformers in a sandbox, and give the result"
_REMEDY = "use a copy of the model without custom code and remove the key"


def refuse_code(document: object, where: object) -> None:
    """Raise RemoteCodeRefused when a key at any depth names code to be loaded or a kernel to be fetched."""
    for key in code_keys(document):
        raise RemoteCodeRefused(f"key {clean(key)!r} asks for code to be loaded", where=where, remedy=_REMEDY)


def refusal(
    root: Path, code: Mapping[str, Collection[str]], side_files: Collection[str], config: Mapping[str, object]
) -> RemoteCodeRefused | None:
    """Return why a folder that names code is not read, None where its keys can be dropped.

    Args:
      root:       the folder.
      code:       file -> keys in it that name code.
      side_files: of the folder.
      config:     its config.json, as it is.
    """
    for name, keys in code.items():
        key, what, remedy = next((key for key in keys if key not in _ON_TRUST), None), "", _REMEDY
        if key is None and name == _TOKENIZER and _PIECES not in side_files:
            what = f", and there is no {_PIECES} that a stock tokenizer could read"
            remedy = f"save the tokenizer once in a sandbox, so that it writes {_PIECES}, and remove the key"
        elif key is None and name != _TOKENIZER:
            what, remedy = _without_stock_class(config)
        if key is not None or what:
            what = f"key {clean(key or min(keys))!r} asks for code to be loaded{what}"
            return RemoteCodeRefused(what, where=root / name, remedy=remedy)
    return None


def without_code(table: Mapping[str, object]) -> dict[str, object]:
    """Return a table without the keys that are followed on trust, at any depth."""
    return {key: _cleaned(value) for key, value in table.items() if key not in _ON_TRUST}


def text_without_code(root: Path, name: str, max_bytes: int) -> bytes:
    """Return a configuration of a folder as text without those keys; BadConfig, LimitExceeded."""
    return json.dumps(_cleaned(read_json(root, name, max_bytes)), indent=2).encode() + b"\n"


def _cleaned(value: object) -> object:
    if isinstance(value, dict):
        return without_code(value)
    return [_cleaned(one) for one in value] if isinstance(value, list) else value


def _without_stock_class(config: Mapping[str, object]) -> tuple[str, str]:
    """Return what keeps a stock class from computing a model, and the way out; "" where nothing does."""
    from mergebarrier.arch import FAMILIES

    named, tables = config.get("architectures"), FAMILIES.of_type(config.get("model_type"))
    name = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""
    known = list(dict.fromkeys(one for table in tables for stock in table.architectures for one in _classes(stock)))
    if name not in known:
        what = f", and no stock class that we know is called {clean(name)}" if name else ", and no class is named"
        same = next((one for one in known if one.lower() == name.lower()), "")
        remedy = f"if a stock class takes these weights, name it under architectures ({same or ', '.join(known)})"
        return what, f"{remedy} and remove the key" if known else _CONVERT
    examples = [arguments for table in tables for _, arguments in table.example]
    for kind in _own_types(config):
        ours = any(kind.startswith(f"{one}_") for table in tables for one in table.model_types)
        if not (ours or FAMILIES.of_type(kind) or any(repr(kind) in arguments for arguments in examples)):
            return f", and no stock class that we know computes a part that is a {clean(kind)}", _CONVERT
    return "", ""


def _classes(stock: str) -> tuple[str, ...]:
    """Return a class of a table, and those with a classifier or without a head."""
    stem = re.sub(r"For[A-Z]\w+$|LMHeadModel$", "", stock)
    return stock, f"{stem}ForSequenceClassification", f"{stem}Model"


def _own_types(table: Mapping[str, object]) -> Iterator[str]:
    """Yield the model types of the tables below one that name code themselves."""
    for value in table.values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                if not _ON_TRUST.isdisjoint(part) and part.get("model_type") is not None:
                    yield str(part["model_type"])
                yield from _own_types(part)
