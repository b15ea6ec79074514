"""A tokenizer's vocabulary as data: token -> number, cut to the rows that exist, united, and written back.

    numbers of a union:  those of the base, then the new tokens of every model, in the order of the models and numbers

A token whose number is beyond the model's rows is left out; a new token becomes an entry of ``added_tokens``, which
every kind of tokenizer has. Source: the tokenizer.json of Hugging Face's tokenizers; semantics of mergekit 0.1.5.
Differs: mergekit puts plain tokens of all models before the added ones; we keep models together.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from mergebarrier.errors import BadRecipe
from mergebarrier.merge.vocabulary.faults import bad_tokenizer

Added = Mapping[str, object]
_KEYS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A tokenizer.

    Attributes:
      ids:      token -> number, added tokens among them.
      added:    content -> its entry in ``added_tokens``.
      n_pieces: tokens that are not added.
      document: tokenizer.json with all of ``added``, None where the pieces stand in another file.
      spread:   whether another file than tokenizer.json adds a token, or numbers one otherwise.
      hidden:   tokens of an added_tokens.json that a loader does not read.
      writable: whether it can be written with other tokens.
      notes:    what the files disagree about.
    """

    ids: Mapping[str, int]
    added: Mapping[str, Added]
    n_pieces: int
    document: Mapping[str, object] | None
    spread: bool = False
    hidden: frozenset[str] = frozenset()
    writable: bool = True
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that its numbers need."""
        return max(self.ids.values(), default=-1) + 1

    def rows_added(self) -> list[dict[str, object]]:
        """Return the entries of ``added_tokens`` by number."""
        return [{**self.added[token], "id": self.ids[token]} for token in sorted(self.added, key=self.ids.__getitem__)]

    def completed(self) -> "Vocabulary":
        """Return the vocabulary with all added tokens in its document."""
        if self.document is None:
            return self
        return replace(self, document={**self.document, "added_tokens": self.rows_added()})


def entry(row: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of an added token in full; a special one is not normalized unless it says so."""
    special = row.get("special") is True
    found = {key: row.get(key) is True for key in _KEYS}
    return {"content": row["content"], **found, "normalized": row.get("normalized", not special) is True}


def cut(vocabulary: Vocabulary, rows: int, where: object) -> Vocabulary:
    """Leave out the tokens whose number has no row, and the merges that make or need one of them.

    Raises: BadRecipe when pieces would have to go that do not stand in a tokenizer.json.
    """
    ids = {token: number for token, number in vocabulary.ids.items() if number < rows}
    if len(ids) == len(vocabulary.ids):
        return vocabulary
    added = {content: row for content, row in vocabulary.added.items() if content in ids}
    if vocabulary.document is None:
        if any(token not in ids and token not in vocabulary.added for token in vocabulary.ids):
            what = f"the tokenizer has {vocabulary.n_pieces} pieces, the embedding {rows} rows"
            raise BadRecipe(what, where=where, remedy="save the model with its fast tokenizer, as tokenizer.json")
        return replace(vocabulary, ids=ids, added=added)
    inner = dict(_inner(vocabulary.document))
    pieces = inner.get("vocab")
    if isinstance(pieces, list):
        inner["vocab"], n_pieces = pieces[:rows], min(len(pieces), rows)
    else:
        kept = {token: number for token, number in _table(pieces).items() if ids.get(token) == number}
        inner["vocab"], n_pieces = kept, len(kept)
        prefix, merges = inner.get("continuing_subword_prefix") or "", inner.get("merges")
        if isinstance(merges, list):
            inner["merges"] = [rule for rule in merges if _applies(rule, kept, str(prefix))]
    document = {**_without_numbers(vocabulary.document, rows), "model": inner}
    return replace(vocabulary, ids=ids, added=added, n_pieces=n_pieces, document=document).completed()


def _without_numbers(document: Mapping[str, object], rows: int) -> dict[str, object]:
    """Return a document that puts no number without a row around a text, and pads with none."""
    padding, found = _table(document.get("padding")), dict(document)
    if _number(padding.get("pad_id")) >= rows:
        found["padding"] = None
    if "post_processor" in document:
        found["post_processor"] = _processor(document["post_processor"], rows)
    return found


def _processor(value: object, rows: int) -> object:
    """Return what puts special tokens around a text, without those that have no row; None where nothing is left."""
    table = _table(value)
    parts, special = table.get("processors"), _table(table.get("special_tokens"))
    if isinstance(parts, list):
        left = [part for part in (_processor(part, rows) for part in parts) if part is not None]
        return {**table, "processors": left} if left else None
    pairs = [pair for pair in (table.get("sep"), table.get("cls")) if isinstance(pair, list) and len(pair) == 2]
    if any(_number(number) >= rows for _, number in pairs):
        return None
    numbers = {name: _table(entry).get("ids") for name, entry in special.items()}
    gone = {name for name, ids in numbers.items() if isinstance(ids, list) and any(_number(n) >= rows for n in ids)}
    if not gone:
        return value
    kept = {key: _without_pieces(table[key], gone) for key in ("single", "pair") if key in table}
    return {**table, **kept, "special_tokens": {name: special[name] for name in special if name not in gone}}


def _without_pieces(pieces: object, gone: Set[str]) -> object:
    return [
        piece
        for piece in (pieces if isinstance(pieces, list) else [])
        if _table(_table(piece).get("SpecialToken")).get("id") not in gone
    ]


def _number(value: object) -> int:
    return value if type(value) is int else -1


def _inner(document: Mapping[str, object]) -> Mapping[str, object]:
    return _table(document["model"])


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _applies(rule: object, pieces: Mapping[str, object], prefix: str) -> bool:
    parts = rule.split(" ") if isinstance(rule, str) else rule
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        return False
    return all(part in pieces for part in (*parts, parts[0] + parts[1].removeprefix(prefix)))


def unite(base: Vocabulary, others: Sequence[Vocabulary], where: object) -> Vocabulary:
    """Return the base's vocabulary with every token of the others behind it.

    Raises: BadRecipe when the base's numbers have gaps, because a loader numbers added tokens without any.
    """
    new: dict[str, Added] = {}
    known: Set[str] = base.ids.keys()
    for other in others:
        for token, _ in sorted(other.ids.items(), key=lambda item: item[1]):
            if token not in base.added and token in other.added:
                new.setdefault(token, other.added[token])
            elif token not in known:
                new.setdefault(token, entry({"content": token}))
    return extended(base, new, where)


def extended(base: Vocabulary, new: Mapping[str, Added], where: object) -> Vocabulary:
    """Return a vocabulary with added tokens, each with the next free number or, where it is a token, with its own.

    Args:
      base:  what it starts from.
      new:   content -> its entry; a number in it does not count.
      where: named in errors.
    Raises: BadRecipe when the numbers of the base have gaps.
    """
    if not new:
        return base
    ids, added = dict(base.ids), dict(base.added)
    taken = set(ids.values())
    following = max([base.n_pieces, *(ids[token] + 1 for token in added)])
    for token, row in new.items():
        if token not in ids:
            if following in taken:
                raise bad_tokenizer("its ids have gaps, so tokens cannot be added to it", where)
            ids[token] = following
            following += 1
        added[token] = row
    return replace(base, ids=ids, added=added).completed()


def renumbered(vocabulary: Vocabulary) -> Vocabulary:
    """Return a vocabulary whose hidden tokens have the numbers that a loader gives them once they are written."""
    hidden = [token for token in vocabulary.ids if token in vocabulary.hidden]
    rest = [vocabulary.ids[token] + 1 for token in vocabulary.added if token not in vocabulary.hidden]
    following = max([vocabulary.n_pieces, *rest])
    ids = {**vocabulary.ids, **{token: following + place for place, token in enumerate(hidden)}}
    return vocabulary if ids == vocabulary.ids else replace(vocabulary, ids=ids).completed()


def plain(tokens: Iterable[str]) -> dict[str, Added]:
    """Return tokens with the settings of one that is nothing special."""
    return {token: entry({"content": token}) for token in tokens}
