"""The pieces of a tokenizer with their numbers, from the one file that lists them; nothing of a tokenizer is run.

    tokenizer.json    BPE, WordLevel, WordPiece: token -> number       Unigram: the place in the list
    vocab.json        token -> number                                  vocab.txt: the line
    tokenizer.model   sentencepiece, by the class                      tekken.json: special tokens first, then the rank

Source: the files of transformers and tokenizers. Differs: a file whose numbers are not known here is refused by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mergebarrier.checkpoint.bytes import parse_text
from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge.vocabulary import sentencepiece, tekken
from mergebarrier.merge.vocabulary.faults import bad_tokenizer

TOKENS_FILE = "tokenizer.json"
_KINDS = ("BPE", "Unigram", "WordLevel", "WordPiece")
#: Lists of pieces that are not read, and a second vocabulary, whose rows no number of the first one means.
UNREAD = ("tiktoken.model", "qwen.tiktoken", "sp.model", "prophetnet.tokenizer", "vocab-src.json")
SECOND = "target_vocab.json"
_FAIRSEQ_LINES = ("PhobertTokenizer", "BertweetTokenizer")
_FAST = f"save the model with its fast tokenizer, as {TOKENS_FILE}, or leave tokenizer out, which merges row by row"


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Pieces with numbers, tokenizer.json if there is one, special tokens by default, whether more can be written."""

    numbers: Mapping[str, int]
    document: Mapping[str, object] | None = None
    special: Mapping[str, str] = field(default_factory=dict)
    writable: bool = True


def pieces_of(
    read: Callable[[str], bytes | None], where: Path, settings: Mapping[str, object], config: Mapping[str, object]
) -> Pieces | None:
    """Return the pieces of a folder, None without any.

    Raises: BadRecipe when the file is not what it should be, or its numbers are not known here.
    """
    if read(SECOND) is not None:
        what = "what is written has a vocabulary of its own, and its rows those numbers"
        raise BadRecipe(what, where=where / SECOND, remedy="leave tokenizer out, which merges row by row")
    data = read(TOKENS_FILE)
    if data is not None:
        document = _json(data, where / TOKENS_FILE)
        return Pieces(numbers=_of_document(document, where / TOKENS_FILE), document=document)
    if (data := read("vocab.json")) is not None:
        return Pieces(numbers=_checked(_json(data, where / "vocab.json"), where / "vocab.json"))
    if (data := read("vocab.txt")) is not None:
        kind = str(settings.get("tokenizer_class") or config.get("tokenizer_class")).removesuffix("Fast")
        return _of_lines(data.decode(errors="replace").removesuffix("\n").split("\n"), kind)
    name = next((name for name in sentencepiece.FILES if read(name) is not None), None)
    if name is not None:
        numbers, special = sentencepiece.numbered(read(name) or b"", where / name, settings, config)
        return Pieces(numbers=numbers, special=special)
    if (data := read(tekken.FILE)) is not None:
        return Pieces(numbers=tekken.numbered(data, where / tekken.FILE), writable=False)
    unread = next((name for name in UNREAD if read(name) is not None), None)
    if unread is not None:
        raise BadRecipe("its pieces are not read", where=where / unread, remedy=_FAST)
    return None


def _of_lines(lines: Sequence[str], kind: str) -> Pieces:
    """Return what a vocab.txt lists: a token a line, or that of fairseq, a token and a count behind four others."""
    if kind not in _FAIRSEQ_LINES:
        return Pieces(numbers={line.removesuffix("\r"): number for number, line in enumerate(lines)})
    numbers = {token: number for number, token in enumerate(sentencepiece.FAIRSEQ)}
    for line in lines:
        numbers[line.strip().rpartition(" ")[0]] = len(numbers)
    return Pieces(numbers=numbers, special={"mask_token": "<mask>"})


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
    document = parse_text(data, lambda what: bad_tokenizer(what, where), where=where)
    if not isinstance(document, dict):
        raise bad_tokenizer("it has no table model or no list added_tokens", where)
    return document
