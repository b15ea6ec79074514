"""The pieces of a ``tekken.json``, Mistral's own list of tokens, with the numbers that its loader gives them.

    number of a special token = its rank;   of a piece = its rank + the number of special tokens
    piece = its bytes, each spelled by one character as tokenizer.json of a byte-level BPE spells it

Source: ``Tekkenizer`` of mistral-common 1.13, the file format; the spelling of bytes is GPT-2's. Differs: nothing is
built of it; a vocabulary that would have to change is refused, since no file of this kind is written.
"""

import base64
from collections.abc import Callable
from pathlib import Path

from mergebarrier.checkpoint.bytes import parse_text
from mergebarrier.errors import BadRecipe
from mergebarrier.merge.vocabulary.faults import bad_tokenizer

FILE = "tekken.json"
_MOST = 2**22
#: Special tokens of a file that lists none, by rank.
_FIRST = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
    "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
)  # fmt: skip


def numbered(data: bytes, where: Path) -> dict[str, int]:
    """Return piece -> number; BadRecipe for a file that is not what it should be."""

    def bad(what: str) -> BadRecipe:
        return bad_tokenizer(what, where)

    document = parse_text(data, bad, where=where)
    table = document if isinstance(document, dict) else {}
    config, listed = table.get("config"), table.get("vocab")
    counts = config if isinstance(config, dict) else {}
    size, n_special = counts.get("default_vocab_size"), counts.get("default_num_special_tokens")
    if type(size) is not int or type(n_special) is not int or not 0 <= n_special <= size <= _MOST:
        raise bad("its config does not count its tokens")
    special, rows = table.get("special_tokens"), listed[: size - n_special] if isinstance(listed, list) else []
    names = dict(enumerate(_FIRST))
    if special is not None:
        parts = special if isinstance(special, list) else [None]
        named = [
            (part.get("rank"), part.get("token_str")) if isinstance(part, dict) else (None, None) for part in parts
        ]
        names = {rank: name for rank, name in named if type(rank) is int and isinstance(name, str)}
        if len(names) != len(parts):
            raise bad("a special token is malformed")
    found = {names.get(rank, f"<SPECIAL_{rank}>"): rank for rank in range(n_special)}
    for rank, row in enumerate(rows):
        found[_piece(row, rank, bad)] = rank + n_special
    if list(found.values()) != list(range(size)):
        raise bad(f"it lists {len(found)} different tokens and says {size}")
    return found


def _piece(row: object, rank: int, bad: Callable[[str], BadRecipe]) -> str:
    said = row.get("token_bytes") if isinstance(row, dict) and row.get("rank") == rank else None
    try:
        data = base64.b64decode(said if isinstance(said, str) else "*", validate=True)
    except ValueError:
        raise bad(f"piece {rank} is malformed") from None
    return "".join(map(_SPELLED.__getitem__, data))


def _spelling() -> list[str]:
    """Return a visible character per byte: its own where it has one, else those from U+0100 on, in order."""
    own = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in own else next(others)) for byte in range(0x100)]


_SPELLED = _spelling()
