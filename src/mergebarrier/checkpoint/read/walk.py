"""List everything below a model folder without opening any of it, and read the first bytes of a file that may be read.

    entry -> file | link | special (a pipe, a socket, a device) | folder that is not entered

Links are not followed while walking; a link to a file is then opened by ``open_regular``, which decides where it may
lead.  Depth and number are bounded, and what lies beyond is reported rather than passed over.

Source: the rules of ``open_regular``.  Differs: nothing is refused here, since a scan has to name what it meets.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mergebarrier.checkpoint.bytes import open_regular, read_into

MAX_FILES: Final = 10_000
MAX_FOLDERS_DEEP: Final = 12

EntryKind = Literal["file", "link", "special", "unread"]


@dataclass(frozen=True)
class FolderEntry:
    """Something in a model folder.

    Attributes:
      name:       its path below the folder, with slashes.
      kind:       "unread" for a folder that was not entered, and for what lies beyond the most files.
      size_bytes: of a file; of what a link leads to.
    """

    name: str
    kind: EntryKind
    size_bytes: int = 0


def walk(root: Path) -> Iterator[FolderEntry]:
    """Yield everything below a folder, in the order of the names.

    Args:
      root: the folder, resolved.
    """
    seen, todo = 0, [("", 0)]
    while todo:
        folder, depth = todo.pop()
        try:
            with os.scandir(root / folder) as found:
                items = sorted(found, key=lambda item: item.name)
        except OSError:
            yield FolderEntry(folder or ".", "unread")
            continue
        below = []
        for item in items:
            name = f"{folder}/{item.name}" if folder else item.name
            seen += 1
            if seen > MAX_FILES or (depth >= MAX_FOLDERS_DEEP and item.is_dir(follow_symlinks=False)):
                yield FolderEntry(name, "unread")
                if seen > MAX_FILES:
                    return
            elif item.is_dir(follow_symlinks=False):
                below.append((name, depth + 1))
            else:
                yield _entry(name, item)
        todo += reversed(below)


def _entry(name: str, item: "os.DirEntry[str]") -> FolderEntry:
    try:
        about = item.stat(follow_symlinks=False)
        if stat.S_ISLNK(about.st_mode):
            return FolderEntry(name, "link", item.stat().st_size)
    except OSError:
        return FolderEntry(name, "link" if item.is_symlink() else "unread")
    return FolderEntry(name, "file" if stat.S_ISREG(about.st_mode) else "special", about.st_size)


def read_head(root: Path, name: str, n_bytes: int) -> bytes:
    """Return the first ``n_bytes`` of a file below a folder, or all of a shorter one; errors as ``open_regular``."""
    fd, _ = open_regular(root, name)
    with closing(os.fdopen(fd, "rb", buffering=0)):
        head = bytearray(min(n_bytes, os.fstat(fd).st_size))
        read_into(fd, 0, memoryview(head), root / name)
    return bytes(head)
