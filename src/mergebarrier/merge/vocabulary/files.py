"""All tokens of a model folder with the numbers that a loader gives them, from every file that it reads.

    pieces   tokenizer.json | vocab.json | vocab.txt | a sentencepiece model, numbered by the file
    then     added_tokens of tokenizer.json, added_tokens_decoder of tokenizer_config.json (without it added_tokens.json
             and special_tokens_map.json), the special tokens that the settings name, an added_tokens.json left over
    number   of a piece: its own;   else the next free one, max(pieces, highest added + 1), whatever a file declares

Source: transformers 5.23 (``_from_pretrained`` of its tokenizers) and tokenizers 0.23 (``add_tokens``). Differs: an
``added_tokens.json`` that added_tokens_decoder hides is read too, where its numbers are free: its rows were trained.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier.checkpoint.bytes import parse_text
from mergebarrier.checkpoint.read import TEMPLATE_FOLDER, is_of_tokenizer
from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge.vocabulary.faults import bad_tokenizer
from mergebarrier.merge.vocabulary.pieces import SECOND, TOKENS_FILE, UNREAD, pieces_of
from mergebarrier.merge.vocabulary.tokens import Added, Vocabulary, entry

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

SETTINGS_FILE, SPECIAL_FILE, ADDED_FILE = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
DECODER = "added_tokens_decoder"
#: Lists or tables of special tokens without a role of their own.
EXTRAS = ("extra_special_tokens", "additional_special_tokens")
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_TEMPLATES = ("chat_template", TEMPLATE_FOLDER)
_SHOWN = 3
_DIGITS = 10

Read = Callable[[str], bytes | None]


@dataclass(frozen=True, kw_only=True)
class _Declared:
    """A token that a file declares: its settings, its number there, the file, and whether loaders pass it over."""

    content: str
    settings: Added
    number: int | None
    file: str
    hidden: bool = False


def read_vocabulary(model: "Checkpoint") -> Vocabulary | None:
    """Read the tokens of a model (each file at most 64 MiB), None where no file lists its pieces.

    Raises: BadRecipe when a file is not what it should be.
    """
    return vocabulary_of(
        lambda name: model.read_side_file(name) if name in model.side_files else None, model.path, model.config
    )


def same_tokens(one: "Checkpoint", other: "Checkpoint") -> bool:
    """Say whether two models have the same files of a tokenizer, whatever these hold; templates may differ.

    Raises: BadRecipe for settings that are no table.
    """
    return _token_files(one) == _token_files(other)


def _is_of_tokens(name: str) -> bool:
    return is_of_tokenizer(name) or name == SECOND or name in UNREAD


def _token_files(model: "Checkpoint") -> dict[str, object]:
    names = [name for name in model.side_files if _is_of_tokens(name) and not name.startswith(_TEMPLATES)]
    found: dict[str, object] = {name: model.read_side_file(name) for name in names}
    if SETTINGS_FILE in found:
        settings = _table(model.read_side_file, SETTINGS_FILE, model.path)
        found[SETTINGS_FILE] = {key: value for key, value in settings.items() if "token" in key}
    return found


def read_vocabularies(models: "Sequence[Checkpoint]", rows: Sequence[int]) -> list[Vocabulary | None]:
    """Read the tokens of models; where files that cannot be read are the same for all, each row is a token.

    Args:
      models: the base first.
      rows:   of the embedding of each.
    Returns: one for each model, None where no file lists its pieces.
    Raises:  BadRecipe when a file is not what it should be.
    """
    try:
        return [read_vocabulary(model) for model in models]
    except BadRecipe as fault:
        having = [any(map(_is_of_tokens, model.side_files)) for model in models]
        other = any(has and not same_tokens(models[0], model) for has, model in zip(having, models, strict=True))
        if not having[0] or other or len(set(rows)) > 1:
            raise
        note = f"all models have the same tokenizer, whose tokens are not read ({fault.what}): rows stay where they are"
        ids = {f"row {number}": number for number in range(rows[0])}
        one = Vocabulary(ids=ids, added={}, n_pieces=rows[0], document=None, writable=False, notes=(note,))
        return [one if has else None for has in having]


def vocabulary_of(read: Read, where: Path, config: Mapping[str, object]) -> Vocabulary | None:
    """Read the tokens of a folder.

    Args:
      read:   name -> bytes of a file, None where there is none.
      where:  the folder, for messages.
      config: config.json; it chooses a class of tokenizer where the settings do not.
    Returns: None where no file lists its pieces.
    Raises:  BadRecipe when a file is not what it should be.
    """
    settings = settings_of(read, where)
    pieces = pieces_of(read, where, settings, config)
    if pieces is None:
        return None
    numbers, document = pieces.numbers, pieces.document
    settings = {**pieces.special, **settings}
    ids, added, hidden, notes = dict(numbers), dict[str, Added](), list[str](), list[str]()
    following, taken, spread = len(numbers), set(numbers.values()), False
    for one in _declared(read, where, settings, document):
        token, declared = clean(one.content), one.number
        if one.content not in ids:
            if one.hidden and declared in taken:
                notes.append(f"{one.file} numbers {token} {declared}, which is another token: left out")
                continue
            ids[one.content] = declared if one.hidden and declared is not None else following
            taken.add(ids[one.content])
            following = max(following, ids[one.content] + 1)
            hidden += [one.content] if one.hidden else []
        number = ids[one.content]
        if declared not in (None, number):
            notes.append(f"{one.file} numbers {token} {declared}, a loader {number}: that row is taken")
        if one.content not in added:
            added[one.content] = {"id": number, **one.settings}
            spread |= one.file != TOKENS_FILE and one.content not in numbers
    more = [f"{len(notes) - _SHOWN} more tokens that the files disagree about"] if len(notes) > _SHOWN else []
    found = Vocabulary(
        ids=ids,
        added=added,
        n_pieces=len(numbers),
        document=document,
        spread=spread or bool(notes),
        hidden=frozenset(hidden),
        writable=pieces.writable,
        notes=tuple(f"{clean(where.name)}: {note}" for note in notes[:_SHOWN] + more),
    )
    return found.completed() if found.spread else found


def _declared(
    read: Read, where: Path, settings: Mapping[str, object], document: Mapping[str, object] | None
) -> Iterator[_Declared]:
    """Yield the tokens beside the pieces, in the order in which a loader adds them."""
    rows = (document or {}).get("added_tokens") or []
    if not isinstance(rows, list):
        raise bad_tokenizer("it has no table model or no list added_tokens", where / TOKENS_FILE)
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("content"), str):
            raise bad_tokenizer("an added token is malformed", where / TOKENS_FILE)
        number = _number(row.get("id"), row["content"], where / TOKENS_FILE)
        yield _Declared(content=row["content"], settings=entry(row), number=number, file=TOKENS_FILE)
    decoder = settings.get(DECODER)
    if isinstance(decoder, dict):
        yield from _by_number(((row, number) for number, row in decoder.items()), where, SETTINGS_FILE)
        special = settings
    else:
        special = {**settings, **_table(read, SPECIAL_FILE, where)}
    added = _table(read, ADDED_FILE, where).items()
    names = {content for content, _ in _special(special)}
    if not isinstance(decoder, dict):
        yield from _by_number(((_plain_or_special(content, names), number) for content, number in added), where)
    for content, row in _special(special):
        yield _Declared(content=content, settings=row, number=None, file=SETTINGS_FILE)
    if isinstance(decoder, dict):
        hidden = _by_number(((_plain_or_special(content, names), number) for content, number in added), where)
        yield from (replace(one, hidden=True) for one in hidden)


def _plain_or_special(content: str, special: set[str]) -> Added:
    return {"content": content, "special": content in special, "normalized": content not in special}


def _by_number(rows: Iterable[tuple[object, object]], where: Path, file: str = ADDED_FILE) -> list[_Declared]:
    found = []
    for row, number in rows:
        table = row if isinstance(row, dict) else {"content": row}
        content = table.get("content")
        if not isinstance(content, str):
            raise bad_tokenizer("an added token is malformed", where / file)
        text = isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < _DIGITS
        checked = _number(int(str(number)) if text else number, content, where / file)
        found.append((checked, _Declared(content=content, settings=entry(table), number=checked, file=file)))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _number(value: object, content: str, where: Path) -> int:
    if type(value) is not int or value < 0:
        raise bad_tokenizer(f"the id of {clean(repr(content))} is not a whole number", where)
    return value


def _special(settings: Mapping[str, object]) -> Iterator[tuple[str, Added]]:
    """Yield the special tokens that settings name, first those with a role that every tokenizer has."""
    others = [key for key in settings if key.endswith("_token") and key not in _NAMED]
    found = [settings.get(key) for key in (*_NAMED, *others)]
    for key in EXTRAS:
        more = settings.get(key)
        found += more if isinstance(more, list) else list(more.values()) if isinstance(more, dict) else []
    for value in found:
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str) and content:
            yield content, {**entry(value if isinstance(value, dict) else {"content": content}), "special": True}


def without_lost_tokens(settings: Mapping[str, object], known: Mapping[str, int]) -> dict[str, object]:
    """Return settings that name no special token outside of a vocabulary: a loader would add it, without a row."""

    def lost(value: object) -> bool:
        content = value.get("content") if isinstance(value, dict) else value
        return isinstance(content, str) and content not in known

    kept: dict[str, object] = {}
    for key, value in settings.items():
        if key in EXTRAS and isinstance(value, list):
            kept[key] = [one for one in value if not lost(one)]
        elif key in EXTRAS and isinstance(value, dict):
            kept[key] = {name: one for name, one in value.items() if not lost(one)}
        elif not (key.endswith("_token") and lost(value)):
            kept[key] = value
    return kept


def settings_of(read: Read, where: Path) -> Mapping[str, object]:
    """Return tokenizer_config.json of a folder, empty without one; BadRecipe for what is no table."""
    return _table(read, SETTINGS_FILE, where)


def _table(read: Read, name: str, where: Path) -> Mapping[str, object]:
    data = read(name)

    def bad(what: str) -> BadRecipe:
        return bad_tokenizer(what, where / name)

    document = {} if data is None else parse_text(data, bad, where=where / name)
    if not isinstance(document, dict):
        raise BadRecipe("not a table", where=where / name, remedy="repair the file")
    return document
