"""One tiny world for all audits, with its expert protected in three ways."""

from dataclasses import dataclass
from pathlib import Path

import tiny_world
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from mergebarrier.protect import PROTECTIONS
from mergebarrier.verbs import OutputOptions, protect


@dataclass(frozen=True)
class Stage:
    """A world and protected copies of its expert."""

    world: tiny_world.World
    exact: Path
    second: Path
    attention: Path


def make(folder: Path) -> Stage:
    """Train the world and protect its expert by `exact` with two keys, and by `mergebarrier`."""
    world = tiny_world.make(folder)
    with open_checkpoint(world.original) as original:
        for name, method, key in (
            ("exact", "exact", Key(b"1" * 32)),
            ("second", "exact", Key(b"2" * 32)),
            ("attention", "mergebarrier", None),
        ):
            protect(original, PROTECTIONS[method](), key, OutputOptions(folder / name))
    return Stage(world, folder / "exact", folder / "second", folder / "attention")
