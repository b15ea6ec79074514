"""``zoo``: what real models and tasks there are, and where they lie; tasks that are made by rule."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from mergebarrier import zoo
from mergebarrier.api.base import Report, Row, beside, shown
from mergebarrier.cache import cache_folder
from mergebarrier.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ZooAsset:
    """One model, task or text.

    Attributes:
      name, kind, licence, about: as the catalogue has them.
      state:   "ready", "local" (can be made without the network) or "absent".
      package: the distribution that it comes out of; None for what is made from other assets.
      needs:   names of those.
      path:    its folder, None where it is not ready.
    """

    name: str
    kind: str
    state: str
    licence: str
    about: str
    package: str | None
    needs: tuple[str, ...]
    path: Path | None


@dataclass(frozen=True, kw_only=True)
class ZooReport(Report):
    """What the zoo has, and where it keeps it; a row per asset."""

    kind: ClassVar[str] = "zoo"

    cache: Path
    assets: tuple[ZooAsset, ...]

    def rows(self) -> Sequence[Row]:
        """Return a row per asset."""
        return [asdict(asset) for asset in self.assets]


@dataclass(frozen=True, kw_only=True)
class ZooPathReport(Report):
    """Where one asset lies."""

    kind: ClassVar[str] = "zoo-path"

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class RowsReport(Report):
    """Rows that a generator made; a row per file.

    Attributes:
      out:   the folder.
      name:  of the generator.
      seed:  of its draws.
      files: file -> how many rows it holds.
      made:  False where only a plan was asked for.
    """

    kind: ClassVar[str] = "rows"

    out: Path
    name: str
    seed: int
    files: Mapping[str, int]
    made: bool = beside(True)

    def rows(self) -> Sequence[Row]:
        """Return a row per file."""
        return [{"file": name, "rows": n} for name, n in self.files.items()]


def zoo_rows(
    name: str, out: str | os.PathLike[str], *, seed: int = 0, overwrite: bool = False, dry_run: bool = False
) -> RowsReport:
    """Make a folder of task files by rule.

    Args:
      name:      "symbols" (sixteen tasks of the symbol base), "instructions" (five tasks with short answers) or
                 "people" (made-up people whose private data cannot be anybody's).
      out:       the folder.
      seed:      of every draw.
      overwrite: replace a folder that holds such rows and nothing else.
      dry_run:   write nothing.
    Raises: UsageError for an unknown name, OutputExists.
    """
    if dry_run:
        files = {file: len(rows) for file, rows in zoo.made_rows(name, seed).items()}
    else:
        files = zoo.write_rows(name, Path(out), seed=seed, overwrite=overwrite)
    return RowsReport(out=Path(out), name=name, seed=seed, files=files, made=not dry_run)


def zoo_assets() -> ZooReport:
    """List what the zoo has; uses no network."""
    return ZooReport(
        cache=cache_folder(),
        assets=tuple(
            ZooAsset(
                name=entry.asset.name,
                kind=entry.asset.kind,
                state=entry.state,
                licence=entry.asset.licence,
                about=entry.asset.about,
                package=_origin(entry.asset.packages),
                needs=tuple(entry.asset.needs),
                path=entry.path,
            )
            for entry in zoo.list_assets()
        ),
    )


def zoo_path(name: str, *, download: bool = False, progress: Progress | None = None) -> ZooPathReport:
    """Return where an asset lies; it is made first if it is not there.

    Args:
      name:     of the asset.
      download: fetch the packages that it comes out of.
      progress: called with (done, total) of each piece of work.
    Raises: AssetMissing for an unknown name, or where something would have to be fetched and may not be.
    """
    find = zoo.fetch if download else zoo.path
    with shown(progress, f"{'fetching' if download else 'making'} {name}") as step:
        return ZooPathReport(name=name, path=find(name, progress=lambda what, done, total: step(done, total)))


def _origin(packages: tuple[zoo.Package, ...]) -> str | None:
    return f"{packages[0].distribution}=={packages[0].version}" if packages else None
