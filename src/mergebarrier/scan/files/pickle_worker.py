"""The process that looks into pickles: picklescan lists what each would import, under limits of memory and time.

    python -P pickle_worker.py FD:KIND ...   ->   one line of JSON per file: {"globals": [[module, name, safety], ..]}

It runs apart because a pickle from a stranger may name lengths that no machine has; nothing in it is ever loaded.  A
file without a line was not looked at.

Source: picklescan 1.0 (``scan_pickle_bytes``, ``scan_zip_bytes``, ``scan_numpy``), MIT.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import pickletools
import re
import resource
import runpy
import sys
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import ModuleType

    from picklescan.scanner import Global

#: From their files: this one runs where no package of ours may be on the path.
begins_as_tar = runpy.run_path(str(Path(__file__).with_name("tars.py")))["begins_as_tar"]
_PICKLED = runpy.run_path(str(Path(__file__).parents[2] / "pickled.py"))
begins_as_pickle, encoded_in, respelled = (_PICKLED[name] for name in ("begins_as_pickle", "encoded_in", "respelled"))
MEMORY_BYTES = 1 << 30
CPU_S = 10
_MOST_BYTES = 128 << 20
_HEAD_BYTES = 512
#: Archives that nothing here unpacks: zstd, lz4, 7z, rar, compress, cabinets, squashfs, cpio, joblib's first form.
_CLOSED = (
    *(b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"7z\xbc\xaf", b"Rar!", b"\x1f\x9d", b"MSCF", b"hsqs", b"070701"),
    b"ZF0x",
)
_PACKED: dict[bytes, Callable[[IO[bytes]], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda data: gzip.GzipFile(fileobj=data),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x5d\x00\x00": lzma.LZMAFile,
    **{magic: lambda data: io.BytesIO(_inflated(data)) for magic in (b"x\x01", b"x^", b"x\x9c", b"x\xda")},
}
#: It reads on in a zip file that is open, and opens none.
_member_of = zipfile.ZipFile.open
#: Where torch keeps numbers in its zip files, which may begin as anything; only what is dangerous by name is said.
_STORAGE = re.compile(r"(?:^|[!/])data/\d+$")
#: Texts in archives that are told: their names, and how many bytes of one and of all.
_TEXTS = tuple(
    f".{end}"
    for end in "json jsonl ndjson jsonc json5 yaml yml jinja jinja2 j2 toml tpl tmpl gotmpl prompt prompty".split()
)
_NAMED_TEXTS = ("template", "modelfile")
_TEXT_BYTES, _TEXTS_BYTES = 16 << 20, 32 << 20


class Seen(NamedTuple):
    """What an archive holds: what its pickles would import, its texts, and what could not be unpacked."""

    imports: "list[Global]"
    texts: list[tuple[str, str]]
    closed: list[str]
    outside: list[str]


def _inflated(data: IO[bytes]) -> bytes:
    return zlib.decompressobj().decompress(data.read(_MOST_BYTES + 1), _MOST_BYTES + 1)


def main(files: list[str]) -> None:
    """Look into every file and print a line about each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    from picklescan import scanner

    looks: dict[str, Callable[[IO[bytes]], list[Global]]] = {
        "zip": lambda data: list(scanner.scan_zip_bytes(data, "file").globals),
        "numpy": lambda data: list(scanner.scan_numpy(data, "file").globals),
        "pickle": lambda data: _row(scanner, data),
        "archive": lambda data: [],
        "text": lambda data: _encoded(scanner, data),
    }
    for word in files:
        descriptor, _, kind = word.partition(":")
        begins = False
        found: dict[str, object] = {"globals": [], "error": "", "looked": True}
        try:
            with os.fdopen(int(descriptor), "rb") as data:
                begins = begins_as_pickle(data.read(_HEAD_BYTES), os.fstat(data.fileno()).st_size)
                data.seek(0)
                named = {(one.module, one.name, one.safety.value) for one in looks[kind](data)}
                found["globals"] = sorted(named)
                if kind in ("zip", "archive"):
                    inside = Seen([], [], [], [])
                    try:
                        _look_inside(scanner, data, "", inside, [_MOST_BYTES, _TEXTS_BYTES])
                    finally:
                        named |= {(one.module, one.name, one.safety.value) for one in inside.imports}
                        found |= {"globals": sorted(named), "texts": inside.texts, "closed": inside.closed}
                        found["outside"] = inside.outside
                if kind == "pickle" and not named:  # picklescan takes what it cannot parse for harmless
                    data.seek(0)
                    deque(pickletools.genops(data), maxlen=0)
        except Exception as fault:  # whatever a stranger's file does to the library, the next file is looked at
            lost = begins and isinstance(fault, MemoryError)
            found |= {"error": f"{type(fault).__name__}: {fault}"[:200], "looked": not lost}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def _row(scanner: "ModuleType", data: IO[bytes]) -> "list[Global]":
    """Return what the pickles of a file would import, one behind the other, as those of torch lie.

    Each is asked by itself: what one remembers is not there for the next, though picklescan thinks so.  Where it comes
    to no end, arguments that loaders take and picklescan does not are replaced, and it is asked again.
    """
    found: list[Global] = []
    start: int | None = 0
    while start is not None:
        data.seek(start)
        found.extend(scanner.scan_pickle_bytes(data, "file", multiple_pickles=False).globals)
        last, start = start, _behind(data, start)
    data.seek(last)
    spelled = respelled(data.read(_MOST_BYTES))
    return found if spelled is None else found + _row(scanner, io.BytesIO(spelled))


def _behind(data: IO[bytes], start: int) -> int | None:
    """Return where another pickle may begin; None behind the last one, and behind one that no loader would finish."""
    data.seek(start)
    try:
        deque(pickletools.genops(data), maxlen=0)
    except Exception:
        return None
    end = data.tell()
    return end if data.read(1) else None


def _look_inside(
    scanner: "ModuleType", data: IO[bytes], name: str, seen: Seen, left: list[int], depth: int = 4
) -> None:
    """Add what an archive holds, archives in it included, until ``left`` bytes are unpacked or told."""
    size = data.seek(0, os.SEEK_END)
    data.seek(0)
    head = data.read(_HEAD_BYTES)
    data.seek(0)
    numbers = _STORAGE.search(name) is not None
    pickled = begins_as_pickle(head, size) and not numbers
    if not numbers:
        seen.imports.extend(_encoded(scanner, data))
        data.seek(0)
    if pickled:
        seen.imports.extend(_row(scanner, data))
    elif head.startswith(b"\x93NUMPY"):
        seen.imports.extend(scanner.scan_numpy(data, "file").globals)
        return
    elif name.lower().endswith(_TEXTS) or any(word in name.lower() for word in _NAMED_TEXTS):
        text = data.read(min(_TEXT_BYTES, left[1]))
        left[1] -= len(text)
        if len(text) < size:
            seen.closed.append(name)
        seen.texts.append((name, text.decode(json.detect_encoding(text), "replace")))
        return
    elif head.startswith(_CLOSED):
        seen.closed.append(name)
        return
    if not depth:
        if not head.startswith(b"\x80"):
            seen.closed.append(name)
        return
    data.seek(0)
    inside = False
    for inner, part in _parts(data, head, left, seen.outside):
        below, inside = f"{name}!{inner}" if name else inner, True
        _look_inside(scanner, io.BytesIO(part), below, seen, left, depth - 1)
    if not (inside or pickled) and name:  # of no known kind: what is dangerous by name is said, as of files beside it
        seen.imports.extend(_dangerous(scanner, data))
    elif not (inside or pickled or begins_as_tar(head) or zipfile.is_zipfile(data)):  # it is called an archive
        seen.closed.append(name)


def _encoded(scanner: "ModuleType", data: IO[bytes]) -> "list[Global]":
    """Return what pickles in base64 would import, of names that are known to be dangerous."""
    return [one for part in encoded_in(data.read(_TEXT_BYTES)) for one in _dangerous(scanner, io.BytesIO(part))]


def _dangerous(scanner: "ModuleType", data: IO[bytes]) -> "list[Global]":
    """Return what bytes of no known kind would import, of names that are known to be dangerous."""
    try:
        found = _row(scanner, data)
    except Exception:  # numbers, such as those of weights, read as opcodes up to some point
        return []
    return [one for one in found if one.safety.value == "dangerous" and "unknown" not in (one.module, one.name)]


def _parts(data: IO[bytes], head: bytes, left: list[int], outside: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the members of a zip or tar file, or what a packed file holds; ValueError where that is too much.

    A member that is too long is weights, and the finding about the archive stands, unless it begins as something else.
    """

    def taken(file: IO[bytes] | io.BufferedIOBase | None, name: str = "", size: int = 0) -> bytes:
        part = b"" if file is None else file.read(_HEAD_BYTES if size > left[0] else left[0] + 1)
        if size > left[0] and (_STORAGE.search(name) or not (begins_as_pickle(part, size) or _is_packed(part))):
            return b""
        left[0] -= max(size, len(part))
        if left[0] < 0:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES} bytes")
        return part

    packed = next((unpack for magic, unpack in _PACKED.items() if head.startswith(magic)), None)
    if packed is not None:
        yield "unpacked", taken(packed(data))
    if begins_as_tar(head):
        with tarfile.TarFile(fileobj=data) as tar:
            for member in tar:
                if any(path.startswith("/") or ".." in path.split("/") for path in (member.name, member.linkname)):
                    outside.append(member.name)
                if member.isfile():
                    yield member.name, taken(tar.extractfile(member), member.name, member.size)
            ended = tar.offset
    if zipfile.is_zipfile(data):  # its table is at the end, so that it may be something else too
        with zipfile.ZipFile(data) as table:
            for info in table.infolist():
                with _member_of(table, info) as file:
                    yield info.filename, taken(file, info.filename, info.file_size)
    elif begins_as_tar(head) and _goes_on(data, ended):  # other readers skip what this one stops at
        raise ValueError("it goes on behind the end of its tar archive")


def _goes_on(data: IO[bytes], start: int) -> bool:
    """Say whether anything but zeros lies behind a place."""
    data.seek(start)
    return any(any(part) for part in iter(lambda: data.read(1 << 20), b""))


def _is_packed(head: bytes) -> bool:
    return head.startswith((*_PACKED, *_CLOSED, b"PK", b"\x93NUMPY")) or begins_as_tar(head)


if __name__ == "__main__":
    main(sys.argv[1:])
