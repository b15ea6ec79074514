"""A tokenizer's vocabulary as data: token -> id, read from tokenizer.json, cut to the rows that exist, and united.

    ids of a union:  those of the base, then the new tokens of every model, in the order of the models and of their ids

Nothing of a tokenizer is run. A token whose id is beyond the model's rows is ignored; a new token becomes an entry of
``added_tokens``, which every kind of tokenizer has. Source: the tokenizer.json of Hugging Face's tokenizers; semantics
of mergekit 0.1.5. Differs: mergekit puts plain tokens of all models before the added ones; we keep models together.
"""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mergebarrier.errors import BadRecipe, clean

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

TOKENS_FILE = "tokenizer.json"
_KINDS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer.

    Attributes:
      ids:      token -> id, added tokens among them.
      added:    content -> its entry in ``added_tokens``.
      document: tokenizer.json.
    """

    ids: Mapping[str, int]
    added: Mapping[str, Mapping[str, Any]]
    document: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Rows that its ids need."""
        return max(self.ids.values(), default=-1) + 1


def read_vocabulary(model: "Checkpoint") -> Vocabulary | None:
    """Read a model's tokenizer.json (at most 64 MiB), None when there is none.

    Raises: BadRecipe when it is not what it should be.
    """
    if TOKENS_FILE not in model.side_files:
        return None
    where = model.path / TOKENS_FILE
    try:
        document = json.loads(model.read_side_file(TOKENS_FILE))
    except (ValueError, RecursionError) as fault:
        raise _bad(f"not JSON: {clean(fault)}", where) from None
    inner = document.get("model") if isinstance(document, dict) else None
    added = document.get("added_tokens") or [] if isinstance(document, dict) else None
    if not isinstance(inner, dict) or not isinstance(added, list):
        raise _bad("it has no table model or no list added_tokens", where)
    if inner.get("type", _KINDS[0]) not in _KINDS:
        raise _bad(f"its kind {clean(repr(inner.get('type')))} is not one of {', '.join(_KINDS)}", where)
    entries = {row["content"]: row for row in added if isinstance(row, dict) and isinstance(row.get("content"), str)}
    ids = dict(_pieces(inner.get("vocab"), where)) | {content: row.get("id") for content, row in entries.items()}
    wrong = next((token for token, number in ids.items() if type(number) is not int or number < 0), None)
    if wrong is not None or len(entries) != len(added):
        raise _bad(
            f"the id of {clean(repr(wrong))} is not a whole number"
            if wrong is not None
            else "an added token is malformed",
            where,
        )
    return Vocabulary(ids, entries, document)


def _pieces(vocabulary: Any, where: object) -> Iterable[tuple[str, Any]]:
    """Yield (token, id) of a table of ids, or of Unigram's list of (token, score)."""
    if isinstance(vocabulary, dict):
        return list(vocabulary.items())
    rows = vocabulary if isinstance(vocabulary, list) else None
    if rows is None or any(not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str) for row in rows):
        raise _bad("its model has no vocabulary", where)
    return [(row[0], index) for index, row in enumerate(rows)]


def cut(vocabulary: Vocabulary, rows: int) -> Vocabulary:
    """Leave out the tokens whose id has no row, and the merges that make or need one of them."""
    ids = {token: number for token, number in vocabulary.ids.items() if number < rows}
    if len(ids) == len(vocabulary.ids):
        return vocabulary
    inner = dict(vocabulary.document["model"])
    pieces = inner["vocab"]
    if isinstance(pieces, dict):
        inner["vocab"] = {token: number for token, number in pieces.items() if number < rows}
    else:
        inner["vocab"] = pieces[:rows]
    if isinstance(inner.get("merges"), list):
        prefix = inner.get("continuing_subword_prefix") or ""
        inner["merges"] = [rule for rule in inner["merges"] if _applies(rule, inner["vocab"], prefix)]
    added = {content: row for content, row in vocabulary.added.items() if row["id"] < rows}
    document = {**vocabulary.document, "model": inner, "added_tokens": list(added.values())}
    return Vocabulary(ids, added, document)


def _applies(rule: Any, pieces: Mapping[str, Any], prefix: str) -> bool:
    parts = rule.split(" ") if isinstance(rule, str) else rule
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        return False
    return all(part in pieces for part in (*parts, parts[0] + parts[1].removeprefix(prefix)))


def unite(base: Vocabulary, others: Sequence[Vocabulary], where: object) -> Vocabulary:
    """Return the base's vocabulary with every token of the others behind it.

    Raises: BadRecipe when the base's ids have gaps, because a loader numbers added tokens without any.
    """
    new: dict[str, Mapping[str, Any]] = {}
    known: Set[str] = base.ids.keys()
    for other in others:
        for token, _ in sorted(other.ids.items(), key=lambda item: item[1]):
            if token not in base.added and token in other.added:
                new.setdefault(token, other.added[token])
            elif token not in known:
                new.setdefault(token, _PLAIN)
    return extended(base, new, where)


def extended(base: Vocabulary, new: Mapping[str, Mapping[str, Any]], where: object) -> Vocabulary:
    """Return a vocabulary with added tokens, each with the next free id or, where it is a token already, with its own.

    Args:
      base:  what it starts from.
      new:   content -> its settings; an id among them does not count.
      where: named in errors.
    Raises: BadRecipe when the ids of the base have gaps.
    """
    if not new:
        return base
    ids, added = dict(base.ids), dict(base.added)
    taken = set(ids.values())
    following = max(len(base.document["model"]["vocab"]), *(row["id"] + 1 for row in [*added.values(), {"id": -1}]))
    for token, settings in new.items():
        if token not in ids:
            if following in taken:
                raise _bad("its ids have gaps, so tokens cannot be added to it", where)
            ids[token] = following
            following += 1
        added[token] = {"id": ids[token], "content": token, **{key: settings[key] for key in _PLAIN if key in settings}}
    rows = sorted(added.values(), key=lambda row: int(row["id"]))
    return Vocabulary(ids, added, {**base.document, "added_tokens": rows})


def plain(tokens: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return tokens with the settings of one that is nothing special."""
    return dict.fromkeys(tokens, _PLAIN)


def _bad(what: str, where: object) -> BadRecipe:
    return BadRecipe(
        what,
        where=where,
        remedy="repair the file, or leave tokenizer out, which copies those of the base or first model",
    )
