"""A report folder: rows are appended as they are measured, the summary and its views are written at the end.

    rows.jsonl   one finished row per line, flushed to the disk before the next begins; read back by ``--resume``
    result.json  report.html  card.md  findings.sarif   written under temporary names and renamed, the summary last

A line that a crash cut off is dropped; a line that is damaged in any other way is refused.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mergebarrier.errors import BadReport, OutputExists
from mergebarrier.report.base import fresh_name, replace_file
from mergebarrier.report.card import render_card
from mergebarrier.report.html import render_html
from mergebarrier.report.sarif import render_sarif
from mergebarrier.results import (
    BackdoorResult,
    Cell,
    Measurement,
    Result,
    Scanned,
    findings_from_json,
    result_from_json,
    row_from_json,
    to_json,
)

RESULT: Final = "result.json"
ROWS: Final = "rows.jsonl"
FILES: Final = (RESULT, ROWS, "report.html", "card.md", "findings.sarif")
#: Where an audit keeps the models that it realigned; removed when it is done.
WORK: Final = "work"
PROGRESS: Final = "progress.json"
MAX_ROWS_BYTES: Final = 256 * 2**20

Row = Cell | Measurement


class Journal:
    """The finished rows of an audit, on disk and in memory; use ``Journal.open``."""

    def __init__(self, path: Path, rows: Mapping[str, Row]) -> None:
        """Take over a file whose rows have been read."""
        self._path = path
        self._rows = dict(rows)
        self._asked: dict[str, Row] = {}

    @classmethod
    def open(cls, folder: Path, *, resume: bool = False, overwrite: bool = False) -> "Journal":
        """Start or go on with a report.

        Args:
          folder:    the report folder; made when it is not there.
          resume:    keep the rows that are there.
          overwrite: throw an older report away.
        Raises: OutputExists (something is there), BadReport (rows that cannot be read).
        """
        if os.path.lexists(folder) and not folder.is_dir():
            raise OutputExists("this is no folder", where=folder, remedy="choose another output folder")
        present = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        _refuse_links(folder, present)
        present = [name for name in present if name not in map(fresh_name, FILES)]  # of a run that died over them
        foreign = [name for name in present if name not in (*FILES, WORK)]
        if foreign or (present and not (resume or overwrite)):
            raise OutputExists(
                "holds files that are not part of a report" if foreign else "is not empty",
                where=folder,
                remedy="choose another folder" if foreign else "give --resume, --overwrite or another folder",
            )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / ROWS
        if overwrite:
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        rows = _whole_lines(path) if resume and path.exists() else []
        replace_file(path, b"".join(rows))
        kept = [row_from_json(line, where=f"{path.name} line {number}") for number, line in enumerate(rows, 1)]
        return cls(path, {row.row_id: row for row in kept})

    def find(self, row_id: str) -> Row | None:
        """Return a finished row and note that this audit uses it; None when it has still to be measured."""
        row = self._rows.get(row_id)
        if row is not None:
            self._asked[row_id] = row
        return row

    def add(self, row: Row) -> None:
        """Append a finished row, which is on the disk when this returns; one that is here takes its new name."""
        self.adopt([row])
        self._rows[row.row_id] = self._asked[row.row_id] = row

    def adopt(self, rows: Iterable[Row]) -> None:
        """Append rows that were finished elsewhere, those that are here already left out; used when they are asked."""
        fresh = {row.row_id: row for row in rows if row.row_id not in self._rows}
        self._rows |= fresh
        with self._path.open("ab") as file:
            file.write(b"".join(to_json(row).encode() for row in fresh.values()))
            file.flush()
            os.fsync(file.fileno())

    @property
    def n_rows(self) -> int:
        """How many rows are finished."""
        return len(self._rows)

    @property
    def used(self) -> list[Row]:
        """The rows that this audit asked for or measured, in that order."""
        return list(self._asked.values())


def write_report(folder: Path, result: Result | BackdoorResult, rows: Sequence[Row]) -> None:
    """Write every file of a report.

    Args:
      folder: an existing report folder.
      result: the summary.
      rows:   what ``rows.jsonl`` will hold, no more and no less.
    """
    replace_file(folder / ROWS, b"".join(to_json(row).encode() for row in rows))
    replace_file(folder / "report.html", render_html(result, rows).encode())
    replace_file(folder / "card.md", render_card(result, rows).encode())
    replace_file(folder / "findings.sarif", render_sarif(result).encode())
    replace_file(folder / RESULT, to_json(result, indent=1).encode())


def write_progress(folder: Path, document: Mapping[str, object]) -> None:
    """Say in a file of a folder how far an audit is; nothing depends on it, so it is not flushed."""
    fresh = folder / fresh_name(PROGRESS)
    fresh.write_text(json.dumps(document) + "\n", encoding="utf-8")
    fresh.replace(folder / PROGRESS)


def read_report(folder: Path) -> tuple[Result | BackdoorResult, list[Row]]:
    """Read a report folder back.

    Raises: BadReport when a file is missing, too large or not exactly what an audit writes.
    """
    _refuse_links(folder, (RESULT, ROWS))
    for name in (RESULT, ROWS):
        if not (folder / name).is_file():
            raise BadReport(
                f"{name} is missing",
                where=folder,
                remedy="give the folder of a finished audit; one that was stopped goes on with --resume",
            )
    result = read_result(folder / RESULT)
    lines = _whole_lines(folder / ROWS)
    return result, [row_from_json(line, where=f"{ROWS} line {number}") for number, line in enumerate(lines, 1)]


def read_result(path: Path) -> Result | BackdoorResult:
    """Read a summary alone; BadReport when it is too large or not exactly what an audit writes."""
    if path.stat().st_size > MAX_ROWS_BYTES:
        raise BadReport("the file is too large", where=path, remedy="give a report that an audit wrote")
    return result_from_json(path.read_bytes(), where=path)


def read_findings(path: Path) -> tuple[Scanned, ...]:
    """Read the findings that a scan printed as JSON.

    Raises: BadReport when the file is missing, too large, or no such document.
    """
    if not path.is_file() or path.stat().st_size > MAX_ROWS_BYTES:
        raise BadReport(
            "there is no such file, or it is too large",
            where=path,
            remedy="give what `mergebarrier scan --json` printed",
        )
    return findings_from_json(path.read_bytes(), where=path)


def _refuse_links(folder: Path, names: Iterable[str]) -> None:
    """A report may come from a stranger: what is no plain file or folder in it is neither read nor written through."""
    for name in names:
        path = folder / name
        if path.is_symlink() or (path.exists() and not (path.is_file() or path.is_dir())):
            raise BadReport("not a plain file", where=path, remedy="remove it, or choose another folder")


def _whole_lines(path: Path) -> list[bytes]:
    if path.stat().st_size > MAX_ROWS_BYTES:
        raise BadReport("the file is too large", where=path.name, remedy="give a report that an audit wrote")
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
