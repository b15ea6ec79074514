"""Journals of an audit: one that is gone with the program, and one that says how far the audit is.

progress(min(rows used, expected), expected)      the number of rows is known only at the end, so it is estimated
"""

from mergebarrier.audit import MeasurementJournal
from mergebarrier.progress import Progress
from mergebarrier.results import Cell, Measurement


class MemoryJournal:
    """Finished rows in memory."""

    def __init__(self) -> None:
        """Start with none."""
        self._rows: dict[str, Cell | Measurement] = {}

    def find(self, row_id: str) -> Cell | Measurement | None:
        """Return a finished row."""
        return self._rows.get(row_id)

    def add(self, row: Cell | Measurement) -> None:
        """Keep a row."""
        self._rows[row.row_id] = row

    @property
    def used(self) -> list[Cell | Measurement]:
        """All rows."""
        return list(self._rows.values())


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
