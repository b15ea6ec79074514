"""Rows of tasks in a shared folder: each task appends to a file of its own, and reads what all others have finished.

    tasks/<index>.jsonl   its rows, each on the disk before the next begins
    tasks/<plan>-<index>.done   there when the task of that plan is finished

Workers share nothing else, so one that is lost loses the row it was at, and no lock can outlive it.
"""

import os
from pathlib import Path
from typing import Final

from mergebarrier.errors import BadReport
from mergebarrier.results import Cell, Measurement, row_from_json, to_json

TASKS: Final = "tasks"
_MAX_BYTES: Final = 256 * 2**20
_DIGITS: Final = 12

Row = Cell | Measurement


def rows_file(folder: Path, index: int) -> Path:
    """Return where a task keeps its rows."""
    return folder / TASKS / f"{index}.jsonl"


def done_file(folder: Path, plan: str, index: int) -> Path:
    """Return the file that says that a task of a plan is finished."""
    return folder / TASKS / f"{plan[:_DIGITS]}-{index}.done"


def finished_rows(folder: Path) -> list[Row]:
    """Read every row that any task has finished, a line that a crash cut off left out; BadReport for a damaged one."""
    rows = []
    refuse_links(folder)
    for path in sorted((folder / TASKS).glob("*.jsonl")):
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise BadReport("not the rows of a task", where=path, remedy="remove it and go on with --resume")
        lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        rows += [row_from_json(line, where=f"{path.name} line {number}") for number, line in enumerate(lines, 1)]
    return rows


def refuse_links(folder: Path) -> None:
    """Refuse a folder of tasks that is a link or holds one, such as a stranger's: rows would be written through it."""
    for path in (folder / TASKS, *sorted((folder / TASKS).glob("*"))):
        if path.is_symlink():
            raise BadReport("not the rows of a task", where=path, remedy="remove it and go on with --resume")


class TaskJournal:
    """The rows that a worker can see; those that it adds go to the file of the task it is at."""

    def __init__(self, folder: Path) -> None:
        """Read nothing yet."""
        self._folder, self._path = folder, folder
        self._rows: dict[str, Row] = {}
        self._used: dict[str, Row] = {}

    def begin(self, index: int) -> None:
        """Begin a task: see what has been finished meanwhile, and drop a line of it that a crash cut off."""
        refuse_links(self._folder)
        self._path, self._used = rows_file(self._folder, index), {}
        if self._path.exists() and not (content := self._path.read_bytes()).endswith(b"\n"):
            whole = content[: content.rfind(b"\n") + 1]
            fresh = self._path.with_suffix(".new")
            fresh.write_bytes(whole)
            fresh.replace(self._path)
        self._rows = {row.row_id: row for row in finished_rows(self._folder)}

    def find(self, row_id: str) -> Row | None:
        """Return a finished row."""
        row = self._rows.get(row_id)
        if row is not None:
            self._used[row_id] = row
        return row

    def add(self, row: Row) -> None:
        """Keep a row; it is on the disk when this returns."""
        self._rows[row.row_id] = self._used[row.row_id] = row
        with self._path.open("ab") as file:
            file.write(to_json(row).encode())
            file.flush()
            os.fsync(file.fileno())

    @property
    def used(self) -> list[Row]:
        """Rows that the task found or added."""
        return list(self._used.values())
