"""A folder per finished asset: made next to its place, renamed when complete, made by one process at a time.

    <cache>/zoo/<name>/<key>/          complete, or absent
    <cache>/zoo/<name>/.<key>.making/  unfinished; only the holder of the lock touches it

Source: rename(2) is atomic within a file system.  Differs from a marker file: there is nothing to forget to check.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mergebarrier.cache import cache_folder


def place_of(name: str, key: str) -> Path:
    """Return the place of the finished asset, whether it exists yet or not."""
    return cache_folder() / "zoo" / name / key


def make_once(place: Path, build: Callable[[Path], None]) -> Path:
    """Return ``place``, building it if it is absent.

    Args:
      place: the folder to be.
      build: makes a folder at the path that it is given, which does not exist yet; its parent does.
    Returns: place.
    Raises:  whatever ``build`` raises; nothing is at ``place`` then.
    """
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with _locked(place.with_name(f".{place.name}.lock")):
        # Another process may have finished it while we waited.
        if not place.is_dir():
            making = place.with_name(f".{place.name}.making")
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            try:
                build(making / place.name)
                (making / place.name).rename(place)
            finally:
                shutil.rmtree(making, ignore_errors=True)
    return place


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
