r"""Whether bytes begin as a pickle does: by the machine that a pickle is a program of, whatever opcode comes first.

    begins  <=>  a mark of protocol 0 to 5, or opcodes that reach an import, or an argument that goes on behind them

A pickle of protocol 0 is text, and may push anything before its first import; a file may hold several, one behind the
other, as those of torch do.  Arguments are stepped over and never read, since loaders take some that ``pickletools``
refuses (``I0x10\n``, texts beyond ASCII); ``respelled`` says the same pickle in a form that everything reads.  Nothing
is loaded.  Source: ``pickletools``.  Differs from a magic number: protocol 0 has none.  It imports nothing of ours, so
that the process which looks into pickles can use it.  In a text it may stand in base64, as in the zip files of
stable-baselines, whose loader reads such texts.
"""

import base64
import binascii
import io
import pickletools
import re
from collections.abc import Iterator
from typing import Final

_MARKED: Final = re.compile(rb"\x80[\x00-\x05]")
#: What an import of the old form names; prose has other lines behind a "c" or an "i".
_NAMED: Final = re.compile(rb"[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n")
_OLD_IMPORTS: Final = ("GLOBAL", "INST")
_OPCODES: Final = {opcode.code: opcode for opcode in pickletools.opcodes}
#: Arguments that stand for those which are not read; what is imported is not among them.
_NEUTRAL: Final = {
    "INT": b"I0\n", "LONG": b"L0L\n", "FLOAT": b"F0\n", "STRING": b"S'?'\n", "UNICODE": b"V?\n", "PERSID": b"P?\n",
    "GLOBAL": b"c?\n?\n", "INST": b"i?\n?\n",
}  # fmt: skip
#: What pickles begin with in base64: a mark, or an import of a module that reaches the system; lines may be broken.
_ENCODED: Final = re.compile(
    rb"(?:gA[A-X]|Y29zC|Y3Bvc2l4|Y19fYnVp|Y2J1aWx0|Y3N1YnBy|KGNvcwp|KGNwb3Np)(?:[\w+/-]|\\?[\r\n/]|\\[rn]){16,}",
    re.ASCII,
)
_BETWEEN: Final = re.compile(rb"\\[rn]|[\\\r\n]")
_MOST_ENCODED: Final = 1000


def begins_as_pickle(head: bytes, size: int) -> bool:
    r"""Say whether a file begins as a pickle does.

    Args:
      head: its first bytes, or all of them.
      size: of the file.
    Example: >>> begins_as_pickle(b"N0cos\nsystem\n(tR.", 17), begins_as_pickle(b"I think so.\nYes.\n", 17)
             (True, False)
    """
    if _MARKED.match(head):
        return True
    end = 0
    for name, start, end in _opcodes(head):
        if end > len(head):  # prose may begin so too, and then counts more bytes than there are
            return len(head) < size and end <= size
        if name == "STACK_GLOBAL":
            return True
        if name in _OLD_IMPORTS:
            return _NAMED.fullmatch(head[start:end]) is not None
    return end == len(head) < size


def holds_encoded(text: bytes) -> bool:
    """Say whether a text may hold a pickle in base64."""
    return _ENCODED.search(text) is not None


def encoded_in(text: bytes) -> Iterator[bytes]:
    """Yield what stands in base64 in a text and begins as pickles do, the first of them."""
    for found, _ in zip(_ENCODED.finditer(text), range(_MOST_ENCODED), strict=False):
        letters = _BETWEEN.sub(b"", found[0]).translate(bytes.maketrans(b"-_", b"+/"))
        try:
            yield base64.b64decode(letters[: len(letters) // 4 * 4])
        except binascii.Error:
            continue


def respelled(data: bytes) -> bytes | None:
    """Return pickles with a neutral argument in the place of each that ``pickletools`` does not read; None without."""
    parts, kept = list[bytes](), 0
    for name, start, end in _opcodes(data):
        reader = _OPCODES[chr(data[start - 1])].arg
        if name not in _NEUTRAL or reader is None or end > len(data):
            continue
        try:
            reader.reader(io.BytesIO(data[start:end]))
        except ValueError:
            parts += [data[kept : start - 1], _NEUTRAL[name]]
            kept = end
    return b"".join([*parts, data[kept:]]) if parts else None


def _opcodes(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield (name, where its argument begins, where the next begins), until a byte that is none or one that is cut."""
    at = 0
    while at < len(data) and (found := _OPCODES.get(chr(data[at]))) is not None:
        start = at + 1
        at = _end(found, data, start)
        yield found.name, start, at


def _end(opcode: "pickletools.OpcodeInfo", data: bytes, start: int) -> int:
    """Return where an argument ends; behind the bytes where it does not end in them."""
    n = 0 if opcode.arg is None else opcode.arg.n
    if n >= 0:
        return start + n
    if n == pickletools.UP_TO_NEWLINE:
        for _ in range(2 if opcode.name in _OLD_IMPORTS else 1):
            start = data.find(b"\n", start) + 1
            if not start:
                return len(data) + 1
        return start
    width = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}.get(n, 4)
    count = data[start : start + width]
    return start + width + int.from_bytes(count, "little") if len(count) == width else len(data) + 1
