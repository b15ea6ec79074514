"""Journals of an audit: one that is gone with the program, and one that says how far the audit is.

progress(min(rows used, expected), expected)      the number of rows is known only at the end, so it is estimated
"""

from collections.abc import Iterable

from mergebarrier.audit import MeasurementJournal
from mergebarrier.progress import Progress
from mergebarrier.results import Cell, Measurement


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
