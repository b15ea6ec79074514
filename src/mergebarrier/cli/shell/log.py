"""The log file: a copy of everything that goes to stderr, line by line with the time, also where the screen is quiet.

    2026-01-31T12:00:00+00:00 note: ...

Progress bars stay on the screen: they are drawn on ``screen()``, and only their beginning and end are logged.  A log
that can no longer be written ends with a note and never stops the run that it describes.
"""

import datetime
import re
import sys
import threading
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Final, TextIO, cast

from mergebarrier.cli.shell.secrets import stripped
from mergebarrier.errors import MergebarrierError, NotWritable, OutputExists

__all__ = ["LogFile", "screen"]


_TIME: Final = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 ")
_LONGEST_TIME: Final = 32
_OF_MODELS: Final = ("config.json", "adapter_config.json", "mergebarrier.json")


class LogFile:
    """An open log; from ``__init__`` to ``close`` it receives what is written to ``sys.stderr``.

    Args:
      path:    the file; lines are appended to what it holds.
      secrets: words that are not written.
    Raises: MergebarrierError when the file cannot be written.
    """

    def __init__(self, path: Path, secrets: Sequence[str] = ()) -> None:
        """Open the file and copy stderr to it from now on."""
        self._secrets = secrets
        try:
            _check(path)
            self._file: FileIO | None = path.open("ab", buffering=0)
        except OSError as error:
            what = f"the log file cannot be written: {error.strerror}"
            kind = NotWritable if isinstance(error, PermissionError) else MergebarrierError
            raise kind(what, where=path, remedy="give --log-file a file that you may write") from error
        self._lock = threading.Lock()
        self._screen = sys.stderr
        sys.stderr = cast(TextIO, _Copied(self._screen, self))

    def write(self, text: str) -> None:
        """Append the lines of ``text``, each with the time."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._lock:
            if self._file is None:
                return
            try:
                lines = "".join(f"{now} {line}\n" for line in stripped(text, self._secrets).splitlines() if line)
                self._file.write(lines.encode(errors="backslashreplace"))
            except OSError as error:
                self._file.close()
                self._file = None
                self._screen.write(f"note: the log file ends here: {error.strerror}\n")

    def close(self) -> None:
        """Give stderr back and close the file."""
        sys.stderr = self._screen
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None


class _Copied:
    """A text stream that writes to the screen and, whole lines at a time, to a log; all else is the screen's."""

    def __init__(self, shown: TextIO, log: LogFile) -> None:
        self.shown, self._log, self._begun = shown, log, ""

    def write(self, text: str) -> int:
        whole, newline, self._begun = (self._begun + text).rpartition("\n")
        if newline:
            self._log.write(whole)
        return self.shown.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self.shown, name)


def screen() -> TextIO:
    """Return the stderr that people see, without the copy in the log."""
    return sys.stderr.shown if isinstance(sys.stderr, _Copied) else sys.stderr


def _check(path: Path) -> None:
    """Refuse a file that holds something else than a log, and one inside of a model: both would be changed."""
    remedy = "give --log-file a new file, or a log of ours"
    if path.is_file():
        with path.open("rb") as file:
            first = file.readline(_LONGEST_TIME + 1)
        if first and not _TIME.match(first):
            raise OutputExists("the file is no log, and lines would be added to it", where=path, remedy=remedy)
    folder = path.resolve().parent
    if any((folder / name).exists() for name in _OF_MODELS):
        raise OutputExists("lies inside of a model", where=path, remedy="give --log-file a file elsewhere")
