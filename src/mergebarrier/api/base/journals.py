"""Journals of an audit: one that is gone with the program, and one that says how far the audit is.

progress(min(rows used, expected), expected)      the number of rows is known only at the end, so it is estimated
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier.audit import MeasurementJournal
from mergebarrier.checkpoint import find_place, remove_tree
from mergebarrier.errors import MergebarrierError
from mergebarrier.progress import Progress
from mergebarrier.results import Cell, Measurement

if TYPE_CHECKING:
    from mergebarrier.report import Journal


@contextmanager
def begun(
    folder: Path, inputs: Sequence[Path], *, resume: bool = False, overwrite: bool = False
) -> "Iterator[Journal]":
    """Give the journal of a report; a new folder goes again where inputs are refused before anything is measured.

    Args:
      folder:    the report folder.
      inputs:    folders that are read, none of which may lie in it or around it.
      resume:    as in ``Journal.open``.
      overwrite: likewise.
    """
    from mergebarrier.report import WORK, Journal

    made, _ = not folder.exists(), find_place(folder, inputs)
    journal = Journal.open(folder, resume=resume, overwrite=overwrite)
    try:
        yield journal
    except MergebarrierError:
        rows = (path for path in (folder / WORK).glob("*/*") if path.is_file())
        if made and not journal.n_rows and not any(path.stat().st_size for path in rows):
            remove_tree(folder)
        raise


class MemoryJournal:
    """Finished rows in memory."""

    def __init__(self) -> None:
        """Start with none."""
        self._rows: dict[str, Cell | Measurement] = {}
        self._used: dict[str, Cell | Measurement] = {}

    def find(self, row_id: str) -> Cell | Measurement | None:
        """Return a finished row."""
        row = self._rows.get(row_id)
        if row is not None:
            self._used[row_id] = row
        return row

    def add(self, row: Cell | Measurement) -> None:
        """Keep a row."""
        self._rows[row.row_id] = self._used[row.row_id] = row

    def adopt(self, rows: Iterable[Cell | Measurement]) -> None:
        """Keep rows that were finished elsewhere."""
        self._rows |= {row.row_id: row for row in rows}

    @property
    def used(self) -> list[Cell | Measurement]:
        """Rows that were found or added."""
        return list(self._used.values())


class CountedJournal:
    """Another journal, and the progress of the audit that uses it.

    Args:
      journal:  keeps the rows.
      progress: called whenever a row is used.
      expected: rows in all, an estimate.
    """

    def __init__(self, journal: MeasurementJournal, progress: Progress, expected: int) -> None:
        """Say nothing yet."""
        self._journal, self._progress, self._expected = journal, progress, expected

    def find(self, row_id: str) -> Cell | Measurement | None:
        """Return a finished row."""
        row = self._journal.find(row_id)
        if row is not None:
            self._say()
        return row

    def add(self, row: Cell | Measurement) -> None:
        """Keep a row."""
        self._journal.add(row)
        self._say()

    @property
    def used(self) -> list[Cell | Measurement]:
        """Rows that were found or added."""
        return self._journal.used

    def _say(self) -> None:
        self._progress(min(len(self._journal.used), self._expected), self._expected)
