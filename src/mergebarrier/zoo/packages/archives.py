"""One member of a package's archive as a stream: a wheel, an npm tarball or a Debian package, none of them unpacked.

The caller has checked the archive's hash; nothing is extracted to a path that the archive names.

    .whl = zip;   .tgz = gzip(tar);   .deb = ar( debian-binary, control.tar.*, data.tar.* )

Source: ar(5), deb(5), the standard library's readers.
"""

import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mergebarrier.errors import AssetMissing, clean

_AR_MAGIC, _AR_HEADER_BYTES = b"!<arch>\n", 60


def is_archive(path: Path) -> bool:
    """Say whether a file is one of the archives that ``open_member`` reads, by its name."""
    return path.suffix in (".whl", ".tgz", ".deb")


@contextmanager
def open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Open one member for reading.

    Args:
      archive: .whl, .tgz or .deb.
      member:  its path inside, without a leading slash.
    Raises: AssetMissing when there is no such member.
    """
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            if member not in wheel.namelist():
                raise _absent(archive, member)
            with wheel.open(member) as stream:
                yield stream
        return
    with archive.open("rb") as file:
        if archive.suffix == ".deb":
            _seek_data(file, archive)
        # A stream: the reader goes forward from the current position and stops at the end of the tar.
        with tarfile.open(fileobj=file, mode="r|*") as tar:
            for entry in tar:
                if entry.isreg() and entry.name.removeprefix("./") == member:
                    content = tar.extractfile(entry)
                    assert content is not None
                    yield content
                    return
    raise _absent(archive, member)


def _seek_data(file: IO[bytes], archive: Path) -> None:
    """Go to the beginning of data.tar.* in a Debian package."""
    if file.read(len(_AR_MAGIC)) == _AR_MAGIC:
        while len(header := file.read(_AR_HEADER_BYTES)) == _AR_HEADER_BYTES and header[48:58].strip().isdigit():
            if header.startswith(b"data.tar"):
                return
            size = int(header[48:58])
            file.seek(size + size % 2, 1)
    raise _absent(archive, "data.tar")


def _absent(archive: Path, member: str) -> AssetMissing:
    return AssetMissing(f"{clean(member)} is not in the archive", where=archive, remedy="fetch it again")
