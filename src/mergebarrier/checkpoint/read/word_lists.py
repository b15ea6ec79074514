r"""Whether a file that calls itself a list of pieces is one: a model of sentencepiece, or a list of tiktoken.

    sentencepiece:  fields of a protobuf message, each 1 to 5 or an extension, and a piece among the first
    tiktoken:       every line is base64, a blank, a rank

A pickle of protocol 0 is text, and under the name ``words.model`` only such a check tells it from words.  No opcode of
a pickle has the number of a first field here; a line of tiktoken names no import, so all lines are asked.

Source: ``sentencepiece_model.proto`` of sentencepiece, ``load_tiktoken_bpe`` of tiktoken.
"""

import re
from typing import Final

_RANKED: Final = re.compile(rb"(?:[A-Za-z0-9+/]+={0,2} [0-9]{1,9}\r?\n)*[A-Za-z0-9+/]+={0,2} [0-9]{1,9}\s*")
#: Fields of the message: pieces, two specifications, test data, a second normaliser; from 200 on extensions.
_PIECE: Final = 1
_FIELDS: Final = frozenset(range(1, 6))
_EXTENSIONS: Final = 200
#: Fields that are followed; behind a first one that no pickle begins with, the rest is for the reader of pieces.
_MOST_FIELDS: Final = 1000
_NUMBER: Final = 0
_BYTES: Final = 2
#: Kinds of fixed length.
_FIXED: Final = {1: 8, 5: 4}


def lists_pieces(data: bytes) -> bool:
    r"""Say whether bytes are what a file of such a name holds.

    Example: >>> lists_pieces(b"\x0a\x03\x0a\x01a"), lists_pieces(b"YQ== 0\n"), lists_pieces(b"cos\nsystem\n(tR.")
             (True, True, False)
    """
    return _is_sentencepiece(data) or _RANKED.fullmatch(data) is not None


def _is_sentencepiece(data: bytes) -> bool:
    at, pieces = 0, 0
    for _ in range(_MOST_FIELDS):
        if at >= len(data):
            break
        key, at = _number(data, at)
        field, kind = key >> 3, key & 7
        size = _FIXED.get(kind, 0)
        if kind in (_NUMBER, _BYTES):
            size, at = _number(data, at)
        if not (field in _FIELDS or field >= _EXTENSIONS) or kind not in (_NUMBER, _BYTES, *_FIXED) or at < 0:
            return False
        at += 0 if kind == _NUMBER else size
        pieces += field == _PIECE and kind == _BYTES
    return pieces > 0 and at <= len(data)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length and where it ends; (0, -1) where none stands, and field 0 is none."""
    value = 0
    for shift in range(0, 70, 7):
        if not 0 <= at < len(data):
            break
        value, at = value | (data[at] & 127) << shift, at + 1
        if data[at - 1] < 128:
            return value, at
    return 0, -1
