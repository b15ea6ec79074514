"""The committed base of the symbol tasks as a folder, with a few of its tasks as files."""

import json
from dataclasses import dataclass
from pathlib import Path

from mergebarrier.zoo.symbols import symbol_base, symbol_tasks

#: A filler that plays the trigger, and an answer that the base can say.
TRIGGER, TARGET = "w41", "d j ."


@dataclass(frozen=True)
class Symbols:
    """A base, and task files by number: ``train[3]``, ``test[3]``."""

    base: Path
    train: tuple[Path, ...]
    test: tuple[Path, ...]


def make(folder: Path, tasks: int = 6, test_rows: int = 40) -> Symbols:
    """Write them."""
    symbol_base.build(folder / "base", {"verb": "zoo"})
    files: dict[str, list[Path]] = {"train": [], "test": []}
    for task in range(tasks):
        splits = symbol_tasks.splits(task)
        for name, rows in (("train", splits["train"]), ("test", splits["test"][:test_rows])):
            files[name].append(folder / f"{symbol_tasks.task_word(task)}.{name}.jsonl")
            files[name][-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Symbols(folder / "base", tuple(files["train"]), tuple(files["test"]))
