"""The tiny world of the audits, for the front door."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny_world
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from mergebarrier.protect import Exact
from mergebarrier.verbs import OutputOptions, protect


@pytest.fixture(scope="session")
def audit_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tiny_world.World, Path]]:
    """The world, and its first expert protected by `exact`."""
    folder = tmp_path_factory.mktemp("audit-world")
    world = tiny_world.make(folder)
    with open_checkpoint(world.original) as original:
        protect(original, Exact(), Key(b"1" * 32), OutputOptions(folder / "exact"))
    yield world, folder / "exact"
