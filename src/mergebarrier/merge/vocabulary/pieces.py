"""The pieces of a tokenizer with their numbers, from the one file that lists them; nothing of a tokenizer is run.

    tokenizer.json    BPE, WordLevel, WordPiece: token -> number       Unigram: the place in the list
    vocab.json        token -> number                                  vocab.txt: the line
    tokenizer.model   sentencepiece, a protobuf: field 1 of the file is a piece, field 1 of a piece its text

Source: the files of transformers, tokenizers and sentencepiece. Differs: of sentencepiece models only those whose class
numbers pieces by their place are read; other classes shift them, and are refused by name.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mergebarrier.errors import BadRecipe, clean

TOKENS_FILE = "tokenizer.json"
_KINDS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_IN_PLACE = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "TokenizersBackend")
_IN_PLACE_TYPES = ("llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "gemma3_text")

Numbered = tuple[Mapping[str, int], Mapping[str, object] | None]


def pieces_of(
    read: Callable[[str], bytes | None], where: Path, settings: Mapping[str, object], config: Mapping[str, object]
) -> Numbered | None:
    """Return (piece -> number, tokenizer.json where there is one), None where no file lists pieces.

    Raises: BadRecipe when the file is not what it should be, or of a class that shifts its numbers.
    """
    data = read(TOKENS_FILE)
    if data is not None:
        document = _json(data, where / TOKENS_FILE)
        return _of_document(document, where / TOKENS_FILE), document
    if (data := read("vocab.json")) is not None:
        return _checked(_json(data, where / "vocab.json"), where / "vocab.json"), None
    if (data := read("vocab.txt")) is not None:
        lines = data.decode(errors="replace").removesuffix("\n").split("\n")
        return {line.removesuffix("\r"): number for number, line in enumerate(lines)}, None
    name = next((name for name in _SENTENCEPIECE if read(name) is not None), None)
    if name is None:
        return None
    chosen = settings.get("tokenizer_class")
    kind = str(chosen).removesuffix("Fast") if chosen is not None else None
    if kind not in _IN_PLACE and not (kind is None and config.get("model_type") in _IN_PLACE_TYPES):
        what = f"the class {clean(kind or config.get('model_type'))} does not number the pieces of this file by place"
        raise BadRecipe(what, where=where / name, remedy=f"save the model with its fast tokenizer, as {TOKENS_FILE}")
    return {piece: number for number, piece in enumerate(_sentencepiece(read(name) or b"", where / name))}, None


def _of_document(document: Mapping[str, object], where: Path) -> Mapping[str, int]:
    inner = document.get("model")
    if not isinstance(inner, dict):
        raise bad_tokenizer("it has no table model or no list added_tokens", where)
    if inner.get("type", _KINDS[0]) not in _KINDS:
        raise bad_tokenizer(f"its kind {clean(repr(inner.get('type')))} is not one of {', '.join(_KINDS)}", where)
    vocabulary = inner.get("vocab")
    if isinstance(vocabulary, dict):
        return _checked(vocabulary, where)
    rows = vocabulary if isinstance(vocabulary, list) else None
    if rows is None or any(not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str) for row in rows):
        raise bad_tokenizer("its model has no vocabulary", where)
    return {row[0]: number for number, row in enumerate(rows)}


def _checked(numbers: Mapping[str, object], where: Path) -> Mapping[str, int]:
    found = {token: number for token, number in numbers.items() if type(number) is int and number >= 0}
    if len(found) != len(numbers):
        wrong = next(token for token in numbers if token not in found)
        raise bad_tokenizer(f"the id of {clean(repr(wrong))} is not a whole number", where)
    return found


def _json(data: bytes, where: Path) -> Mapping[str, object]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise bad_tokenizer(f"not JSON: {clean(fault)}", where) from None
    if not isinstance(document, dict):
        raise bad_tokenizer("it has no table model or no list added_tokens", where)
    return document


def _sentencepiece(data: bytes, where: Path) -> Iterator[str]:
    for field, body in _fields(data, where):
        if field == 1 and isinstance(body, bytes):
            text = next((part for number, part in _fields(body, where) if number == 1), None)
            if not isinstance(text, bytes):
                raise bad_tokenizer("a piece has no text", where)
            yield text.decode(errors="replace")


def _fields(data: bytes, where: Path) -> Iterator[tuple[int, bytes | None]]:
    """Yield (number, bytes or None) of the fields of a protobuf message."""
    at = 0

    def whole() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise bad_tokenizer("not a sentencepiece model", where)
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(data):
        key = whole()
        kind = key & 7
        size = whole() if kind == 2 else {1: 8, 5: 4}.get(kind, 0)
        if kind == 0:
            whole()
        elif kind not in (1, 2, 5) or at + size > len(data):
            raise bad_tokenizer("not a sentencepiece model", where)
        yield key >> 3, data[at : at + size] if kind == 2 else None
        at += size


def bad_tokenizer(what: str, where: object) -> BadRecipe:
    """Return the error of a tokenizer's file that cannot be read."""
    return BadRecipe(
        what,
        where=where,
        remedy="repair the file, or leave tokenizer out, which copies those of the base or first model",
    )
