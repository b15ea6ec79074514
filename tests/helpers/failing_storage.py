"""A disk that really fails under one process: it is full, read-only, or answers with an error of the device.

    full       a tmpfs of a few pages, mounted in a namespace of our own; where none can be mounted, a limit on the size
               of files (RLIMIT_FSIZE)
    read-only  the same, mounted again without writes; elsewhere a folder that a user without rights may not write
    broken     a filter of system calls (seccomp) that the kernel applies: from a moment on every write, flush, and
               allocation fails with EIO, or every read at an offset

Nothing of ours is replaced: the errors come from the kernel, also for libraries that are not written in Python.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
SIZE = 4 << 20
_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_NAMESPACE, _NEW_USER = 0x20000, 0x10000000
_READ_ONLY, _REMOUNT, _PRIVATE = 1, 32, 1 << 18 | 1 << 14
#: machine -> (its number for the kernel, number of seccomp, of write, of all calls that write, of preadv).
_CALLS = {
    "x86_64": (0xC000003E, 317, 1, (18, 296, 328, 74, 75, 77, 285), 295),
    "aarch64": (0xC00000B7, 277, 64, (68, 70, 287, 82, 83, 46, 47), 69),
}


def mounted(place: Path) -> bool:
    """Mount an empty tmpfs that only this process and its forks see; False where the machine forbids it."""
    user, group = os.getuid(), os.getgid()
    if _LIBC.unshare(_NEW_NAMESPACE | (_NEW_USER if user else 0)):
        return False
    if user:
        for file, line in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path("/proc/self", file).write_text(line)
    if _LIBC.mount(None, b"/", None, _PRIVATE, None):
        return False
    return not _LIBC.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, f"size={SIZE}".encode())


def writes(place: Path, allowed: bool) -> None:
    """Make a mounted tmpfs writable or read-only."""
    flags = _REMOUNT | (0 if allowed else _READ_ONLY)
    if _LIBC.mount(None, os.fsencode(place), None, flags, None):
        raise OSError(ctypes.get_errno(), "cannot be mounted again")


def fill(place: Path, pages: int) -> None:
    """Leave so many pages free on a mounted tmpfs, in a file FILLER."""
    free = os.statvfs(place).f_bavail
    with (place / "FILLER").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - pages) * PAGE)


def limit(pages: int) -> None:
    """Let no file of this process grow past so many pages."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (pages * PAGE, resource.RLIM_INFINITY))


def lose_rights() -> None:
    """Become a user who owns nothing, where this process may write everywhere."""
    if os.getuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)


def give_away(folder: Path) -> None:
    """Let the user whom ``lose_rights`` becomes read what is in a folder."""
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)


def break_disk(*, reads: bool = False) -> None:
    """Let every write to a file (or every read at an offset) of all threads fail with EIO from now on."""
    machine, seccomp, write, others, preadv = _CALLS[platform.machine()]
    calls = [preadv] if reads else [*others]
    load, same, above, answer = 0x20, 0x15, 0x25, 0x06
    fail, allow = 0x50000 | errno.EIO, 0x7FFF0000
    program = [(load, 0, 0, 4), (same, 1, 0, machine), (answer, 0, 0, allow), (load, 0, 0, 0)]
    for call in calls:
        program += [(same, 0, 1, call), (answer, 0, 0, fail)]
    if not reads:  # what goes to the screen still goes there
        program += [(same, 0, 3, write), (load, 0, 0, 16), (above, 0, 1, 2), (answer, 0, 0, fail)]
    program.append((answer, 0, 0, allow))
    packed = b"".join(struct.pack("HBBI", *line) for line in program)
    text = ctypes.create_string_buffer(packed)
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(text)))
    _LIBC.prctl(38, 1, 0, 0, 0)
    if _LIBC.syscall(seccomp, 1, 1, head):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")
