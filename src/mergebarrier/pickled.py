"""Whether bytes begin as a pickle does: by the machine that a pickle is a program of, whatever opcode comes first.

    begins  <=>  a mark of protocol 1 to 5, or opcodes that reach an import, or a line that goes on behind the bytes

A pickle of protocol 0 is text, and may push anything before its first import; a file may hold several, one behind the
other, as those of torch do.  Nothing is loaded.  Source: ``pickletools``.  Differs from a magic number: protocol 0 has
none.  It imports nothing of ours, so that the process which looks into pickles can use it.
"""

import io
import pickletools
import re
from typing import Final

_MARKED: Final = re.compile(rb"\x80[\x01-\x05]")
#: What an import of the old form names; prose has other lines behind a "c" or an "i".
_NAMED: Final = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")
_OLD_IMPORTS: Final = ("GLOBAL", "INST")
#: Opcodes whose argument ends with its line.
_LINES: Final = b"FILVSPcgip"


def begins_as_pickle(head: bytes, longest: int) -> bool:
    r"""Say whether a file begins as a pickle does.

    Args:
      head:    its first ``longest`` bytes, or all of them.
      longest: as many as were asked for.
    Example: >>> begins_as_pickle(b"N0cos\nsystem\n(tR.", 64), begins_as_pickle(b"I think so.\nYes.\n", 64)
             (True, False)
    """
    if _MARKED.match(head):
        return True
    stream, after = io.BytesIO(head), 0
    try:
        while after < len(head):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "STACK_GLOBAL" or opcode.name in _OLD_IMPORTS:
                    return opcode.name not in _OLD_IMPORTS or _NAMED.fullmatch(str(argument)) is not None
                after = stream.tell()
    except Exception:  # not a pickle, or one that is cut
        rest = head[after:]
        return len(head) >= longest and b"\n" not in rest and rest[:1] in _LINES
    return False
