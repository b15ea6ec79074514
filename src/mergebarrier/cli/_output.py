"""One output mode per run: people read text, programs read exactly one JSON document, a quiet run says nothing.

Results go to stdout and everything else to stderr, and from there into the log file if there is one.  A progress bar
appears only on a terminal and only for work that lasts longer than a second.  A table is as wide as the terminal; in a
file or a pipe it is as wide as it needs to be, and never cut.
"""

import dataclasses
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mergebarrier.api.base import SCHEMA_VERSION, Report, document_of
from mergebarrier.cli.shell import LogFile, screen
from mergebarrier.errors import LOGIN, MergebarrierError, UsageError, clean, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["SCHEMA_VERSION", "Output", "Session", "hold_streams", "print_error", "tell"]

_WIDEST: Final = 10_000
_READABLE: Final = 110
_LOG: Final = "--log-file"
#: A secret that is given where the name of a file or an address belongs: a key in hex or base64, what an address is
#: asked, a token, a key in PEM.
_SECRET: Final = re.compile(
    r"(?<![\w.])(?:0x)?[0-9a-fA-F]{64}(?![\w/.])|(?<![\w+/-])[\w+/-]{43}=(?!\S)|(?<=\?)(?:[\w-]+=)[^\s#]+"
    r"|(?<![\w-])(?:sk-|hf_)[\w-]{16,}|-----BEGIN[A-Z ]* PRIVATE KEY-----.*",
    re.ASCII | re.DOTALL,
)
_SHORTEST: Final = 8


@dataclasses.dataclass
class Session:
    """What one call of the command line knows about itself.

    Args:
      argv:    the arguments as given, for the resume line.
      emitted: whether the one JSON document has been printed.
      verbose: whether ``--verbose`` was given.
      log:     the file of ``--log-file``.
    """

    argv: tuple[str, ...] = ()
    emitted: bool = False
    verbose: bool = False
    log: LogFile | None = None

    @property
    def wants_json(self) -> bool:
        """Whether ``--json`` was given, also when the arguments do not parse."""
        return "--json" in self._options

    @property
    def log_path(self) -> Path | None:
        """The file given to ``--log-file``, also when the arguments do not parse."""
        words = [
            part for word in self._options for part in (word.split("=", 1) if word.startswith(_LOG + "=") else [word])
        ]
        following = words[words.index(_LOG) + 1 :] if _LOG in words else []
        return Path(following[0]) if following else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of the arguments must not be shown, line by line; what exists, or is to be written, is a name."""
        names = [word for flag, word in pairwise(self.argv) if flag in ("-o", "--out")]
        words = [word for word in self.argv if word not in names and not _is_there(word)]
        found = [line for word in words for one in _SECRET.finditer(word) for line in one[0].splitlines()]
        logins = [one[0] for word in words for one in LOGIN.finditer(word)]
        return (*logins, *(line for line in found if len(line) >= _SHORTEST))

    @property
    def _options(self) -> tuple[str, ...]:
        return self.argv[: self.argv.index("--")] if "--" in self.argv else self.argv

    @staticmethod
    def current() -> "Session":
        """Return the session of the running command; an empty one outside ``main``."""
        ctx = click.get_current_context(silent=True)
        found = ctx.find_object(Session) if ctx is not None else None
        return found if found is not None else Session()


@dataclasses.dataclass(frozen=True)
class Output:
    """Where a verb prints its result and its notes.

    Args:
      json:        print one JSON document instead of text.
      quiet:       print no text and no notes; errors and JSON remain.
      verbose:     print what is being done as well.
      bar_after_s: seconds of work before a bar appears.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    bar_after_s: float = 1.0

    def result(self, document: Report | Mapping[str, object], human: "RenderableType") -> None:
        """Print the result of a verb on stdout, once.

        Args:
          document: what ``--json`` prints, a report of the front door or its fields; "schema_version" is added.  A
                    number that is not finite becomes null.
          human:    the same for people: a string, printed as it is, or a rich renderable.
        """
        if self.json:
            Session.current().emitted = True
            click.echo(_dumps(document))
        elif not self.quiet:
            _show(human)

    def plan(self, document: Report | Mapping[str, object], facts: Mapping[str, object] | None = None) -> None:
        """Print what ``--dry-run`` found, once: a line a fact, in words.

        Args:
          document: what ``--json`` prints.
          facts:    what people read, by name; the document's own without it.
        """
        found = document.document() if isinstance(document, Report) else document
        lines = "\n".join(_facts(found if facts is None else facts))
        self.result(document if isinstance(document, Report) else {"kind": "plan", **document}, lines)

    def printing(self, form: str) -> "Output":
        """Return the output of ``--format FORM``, for which ``--json`` is a short way to say json.

        Raises: UsageError where the two ask for different forms.
        """
        if self.json and form not in ("text", "json"):
            raise UsageError(f"--json and --format {form} exclude each other", remedy="give one of them")
        return dataclasses.replace(self, json=self.json or form == "json")

    def note(self, text: str) -> None:
        """Print one line on stderr, unless quiet; a log file gets it always."""
        if not self.quiet:
            tell(text)
        else:
            _log(text)

    def detail(self, text: str) -> None:
        """Print one line on stderr when ``--verbose`` asks for it; a log file gets it always."""
        if self.verbose:
            tell(text)
        else:
            _log(text)

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Iterator[Callable[..., None]]:
        """Give a callback ``(done, total)`` that moves a bar on stderr; any thread may call it.

        Args:
          label: what is being done, a few words.
          total: number of steps, when known before the first call.
        """
        started = time.perf_counter()
        self.detail(f"{label} ...")
        with self._bar(label, total) as advance:
            yield advance
        self.detail(f"{label}: done after {time.perf_counter() - started:.1f} s")

    @contextmanager
    def _bar(self, label: str, total: int | None) -> Iterator[Callable[..., None]]:
        if self.json or self.quiet or not sys.stderr.isatty():
            yield _ignore
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        bar = Progress(*columns, TimeRemainingColumn(), console=Console(file=screen()), transient=True)
        task = bar.add_task(label, total=total)
        timer = threading.Timer(self.bar_after_s, bar.start)
        timer.daemon = True
        timer.start()

        def advance(done: int, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total)

        try:
            yield advance
        finally:
            timer.cancel()
            timer.join()
            bar.stop()


def tell(text: str) -> None:
    """Print a line on stderr; a stderr that takes none changes neither what a run does nor its exit code."""
    with suppress(OSError):
        click.echo(plain(text), err=True)


def hold_streams() -> None:
    """Open what is closed of stdin, stdout and stderr on the null device.

    Else the first file that is written would get its number, and with it whatever a library says.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))


def print_error(error: MergebarrierError, session: Session) -> None:
    """Print one line on stderr, the notes below it, and the same as JSON on stdout where JSON was asked for."""
    notes = list(getattr(error, "__notes__", ()))
    tell(f"error: {error}")
    if session.verbose and error.__cause__ is not None:
        tell(f"caused by {type(error.__cause__).__name__}: {error.__cause__}")
    for note in notes:
        tell(note)
    if session.wants_json and not session.emitted:
        fields = {"code": error.code, "where": error.where, "what": error.what, "remedy": error.remedy, "notes": notes}
        with suppress(OSError):  # a stdout that takes nothing may be the error itself
            click.echo(_dumps({"kind": "error", "exit_code": error.exit_code, "error": fields}))


def _is_there(word: str) -> bool:
    return os.path.lexists(word) if "\0" not in word else False


def _ignore(done: int, total: int | None = None) -> None:
    """No-op: no progress bar is shown."""


def _log(text: str) -> None:
    log = Session.current().log
    if log is not None:
        log.write(text)


def _facts(facts: Mapping[str, object], indent: str = "") -> Iterator[str]:
    """Give a line a fact; the facts of a fact stand below it, and what is not there is not named."""
    for name, fact in facts.items():
        label = indent + name.replace("_", " ")
        if isinstance(fact, Mapping):
            yield f"{label}:"
            yield from _facts(fact, indent + "  ")
        elif fact not in (None, (), []):
            yield f"{label}: {_words(fact)}"


def _words(fact: object) -> str:
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, list | tuple):
        return ", ".join(map(_words, fact))
    return f"{fact:,}" if isinstance(fact, int) else f"{fact:g}" if isinstance(fact, float) else clean(fact)


def _show(human: "RenderableType") -> None:
    if isinstance(human, str):
        click.echo(plain(human))
        return
    from rich.console import Console

    console = Console(file=sys.stdout)
    if not sys.stdout.isatty():
        console.width = _whole(human)
    console.print(human)


def _whole(human: "RenderableType") -> int:
    """Return a width that cuts and folds no table; text, and tables that fit any width, are wrapped as for reading."""
    from rich.console import Console, Group
    from rich.measure import Measurement
    from rich.table import Table

    wide = Console(width=_WIDEST)
    parts = human.renderables if isinstance(human, Group) else [human]
    tables = [part for part in parts if isinstance(part, Table) and not part.expand]
    return max([_READABLE, *(Measurement.get(wide, wide.options, table).maximum for table in tables)])


def _dumps(document: Report | Mapping[str, object]) -> str:
    shown = document.to_dict() if isinstance(document, Report) else document_of(document)
    return json.dumps(shown, indent=2, allow_nan=False)
