"""One tiny world for all audits, with its expert protected in three ways."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_world
from mergebarrier.audit import AuditSpec, published
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from mergebarrier.protect import PROTECTIONS
from mergebarrier.results import Cell, Measurement
from mergebarrier.verbs import OutputOptions, protect

SHORT = published(("linear", "task_arithmetic"), (0.5, 1.0))


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


class Memory:
    """A journal without a disk."""

    def __init__(self, rows: dict[str, Cell | Measurement] | None = None) -> None:
        self.rows = dict(rows or {})
        self.added: list[str] = []
        self._asked: dict[str, Cell | Measurement] = {}

    def find(self, row_id: str) -> Cell | Measurement | None:
        if row_id in self.rows:
            self._asked[row_id] = self.rows[row_id]
        return self.rows.get(row_id)

    def add(self, row: Cell | Measurement) -> None:
        # Under a new name a row keeps its seconds.
        assert row.row_id not in self.rows or self.rows[row.row_id].seconds == row.seconds, "measured twice"
        self.rows[row.row_id] = self._asked[row.row_id] = row
        self.added.append(row.row_id)

    @property
    def used(self) -> list[Cell | Measurement]:
        return list(self._asked.values())


def spec(stage: Any, work: Path, **changes: Any) -> AuditSpec:
    world = stage.world
    work.mkdir(exist_ok=True)
    fields: dict[str, Any] = {
        "protected": stage.exact,
        "original": world.original,
        "base": world.base,
        "partner": world.partner,
        "task": world.task,
        "partner_task": world.partner_task,
        "work": work,
        "validation": world.validation,
        "partner_validation": world.partner_validation,
        "text": world.text,
        "search_budget": 6,
        "smooth_evaluations": 8,
        "edit_evaluations": 0,
        "learn_steps": 4,
        "compare_tokens": 200,
        "text_tokens": 200,
    }
    return AuditSpec(**(fields | changes))
