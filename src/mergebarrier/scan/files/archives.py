"""What the table of contents of a zip file says: names that lead out of it, programs, sizes that no disk holds.

Nothing is unpacked.  The table is looked at only where its size is bounded, which the end of the file states.

    ratio = unpacked bytes / packed bytes,   a bomb from 200 on and 1 GiB

Source: the published format (APPNOTE 4.3.16).  Differs: members are judged by name alone; pickles among them are for
picklescan.
"""

import stat
import zipfile
from dataclasses import dataclass
from typing import IO, Final

from mergebarrier.errors import clean

_TAIL_BYTES: Final = 22 + (1 << 16)
_MAX_TABLE_BYTES: Final = 8 << 20
_BOMB_BYTES: Final = 1 << 30
_BOMB_RATIO: Final = 200
_PROGRAMS: Final = (".py", ".pyc", ".so", ".dll", ".exe", ".sh", ".dylib", ".jar", ".class", ".bat", ".ps1", ".js")


@dataclass(frozen=True)
class ZipContents:
    """What a zip file holds, by its own table.

    Attributes:
      members:  how many.
      pickle:   a member that PyTorch or a pickle library would load; "" without one.
      outside:  a name that leads out of where it is unpacked, or a link; "".
      program:  the first program among the members; "".
      bomb:     whether it unpacks to far more than it is.
      problem:  why the table was not read; "".
    """

    members: int = 0
    pickle: str = ""
    outside: str = ""
    program: str = ""
    bomb: bool = False
    problem: str = ""


def contents(file: IO[bytes], size_bytes: int) -> ZipContents:
    """Read the table of an open zip file, never a member."""
    file.seek(max(0, size_bytes - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        return ZipContents(problem="it has no table of contents")
    table_bytes = int.from_bytes(tail[end + 12 : end + 16], "little")
    if table_bytes == 0xFFFFFFFF:  # the true size stands in the record of large files
        large = tail.rfind(b"PK\x06\x06")
        table_bytes = int.from_bytes(tail[large + 40 : large + 48], "little") if large >= 0 else table_bytes
    if table_bytes > _MAX_TABLE_BYTES:
        return ZipContents(problem=f"its table of contents takes {table_bytes} bytes")
    file.seek(0)
    try:
        infos = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, ValueError, OverflowError, OSError) as fault:
        return ZipContents(problem=f"its table of contents cannot be read: {clean(fault)}")
    names = [info.filename for info in infos]
    unpacked, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    return ZipContents(
        len(infos),
        next((name for name in names if name.endswith((".pkl", ".pickle", ".joblib", ".dat"))), ""),
        next((info.filename for info in infos if _leads_out(info.filename) or _is_link(info)), ""),
        next((name for name in names if name.lower().endswith(_PROGRAMS)), ""),
        unpacked > _BOMB_BYTES and unpacked > _BOMB_RATIO * max(1, packed),
    )


def _is_link(info: zipfile.ZipInfo) -> bool:
    """Say whether a member is unpacked as a link, through which the next one is written."""
    return stat.S_ISLNK(info.external_attr >> 16)


def _leads_out(name: str) -> bool:
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":"
