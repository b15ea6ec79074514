"""Task and text files: untrusted data, read strictly, never run.

A task file is JSON lines, each exactly ``{"prompt": "...", "answer": "..."}``; a text file is plain UTF-8.

    score of a task = share of rows whose answer tokens are all the greedy continuation of the prompt

Source: ours (DESIGN 5).  Differs from the usual readers: a key too many, a key given twice, an empty line, an empty
answer or a byte that is not UTF-8 is refused with its line number, because a row that is skipped is a wrong score.
Samples and results of lm-evaluation-harness are rows as well (see ``harness``).
"""

import hashlib
import json
import os
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mergebarrier.errors import BadTask, BadText, EvaluateError, clean
from mergebarrier.evaluate.language import harness

MAX_FILE_BYTES = 64 * 2**20
MAX_LINE_BYTES = 2**20
_KEYS = ("prompt", "answer")
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class TaskRow:
    """One question: the model reads ``prompt`` and must go on with exactly ``answer`` (often a space comes first)."""

    prompt: str
    answer: str

    @property
    def question(self) -> str:
        """What it asks: other blanks, case, coding of letters or signs that nobody sees make no other question."""
        plain = unicodedata.normalize("NFKC", self.prompt)
        seen = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
        return " ".join(seen.casefold().split())


@dataclass(frozen=True)
class TaskFile:
    """A task, read and checked.

    Attributes:
      rows:   tuple[TaskRow, ...], at least one, in file order.
      digest: hex SHA-256 of the file.
    """

    rows: tuple[TaskRow, ...]
    digest: str

    def distinct(self, max_items: int | None = None) -> int:
        """Count the different rows among the first so many: one that stands twice counts twice in every rate."""
        return len(set(self.rows[:max_items]))


def read_task(path: str | os.PathLike[str]) -> TaskFile:
    """Read a task file.

    Args:
      path: JSON lines, UTF-8, at most 64 MiB, a line at most 1 MiB; or what lm-evaluation-harness wrote.
    Returns: TaskFile.
    Raises:  BadTask, naming file, line and fault.
    """
    data = _read(Path(path), BadTask, "give a JSON lines file")
    if Path(path).suffix == ".json" and not harness.is_array(data):
        path = harness.samples_beside(Path(path), data)
        data = _read(path, BadTask, "give a JSON lines file")
    lines = harness.lines_of_array(data, path) if harness.is_array(data) else data.split(b"\n")
    if lines and lines[-1] == b"":
        lines.pop()
    if not lines:
        raise BadTask(
            "the file holds no row", where=path, remedy='write lines such as {"prompt": "2+2=", "answer": "4"}'
        )
    read = _samples if harness.is_sample(lines[0]) else _rows
    return TaskFile(read(lines, path), hashlib.sha256(data).hexdigest())


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a plain text file for perplexity or calibration: UTF-8, not empty, at most 64 MiB; else BadText."""
    data = _read(Path(path), BadText, "give a plain UTF-8 text file")
    if data.startswith(_MARK):
        raise BadText("begins with a byte order mark", where=path, remedy="save the file as UTF-8 without one")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadText(
            f"byte {error.start} is not UTF-8", where=path, remedy="convert the file, as with `iconv -t UTF-8`"
        ) from error
    if not text.strip():
        raise BadText("the file holds no text", where=path, remedy="give a plain UTF-8 text file")
    return text


def _read(path: Path, fault: type[EvaluateError], remedy: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise fault(f"cannot be opened: {error.strerror}", where=path, remedy=remedy) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise fault("not a regular file", where=path, remedy=remedy)
        with open(fd, "rb", closefd=False) as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > MAX_FILE_BYTES:
        raise fault(f"more than {MAX_FILE_BYTES} bytes", where=path, remedy="give a smaller file")
    return data


def _rows(lines: Sequence[bytes], path: str | os.PathLike[str]) -> tuple[TaskRow, ...]:
    return tuple(_row(line, f"{path}: line {number}") for number, line in enumerate(lines, 1))


def _samples(lines: Sequence[bytes], path: str | os.PathLike[str]) -> tuple[TaskRow, ...]:
    """Return a row per question; further filters of the same question say the same."""
    found: dict[str, TaskRow] = {}
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise BadTask(f"{len(line)} bytes, the cap is {MAX_LINE_BYTES}", where=where, remedy="leave the row out")
        name, (prompt, answer) = harness.sample_of(line, where)
        found.setdefault(name, TaskRow(prompt, answer))
    return tuple(found.values())


def _row(line: bytes, where: str) -> TaskRow:
    def fail(what: str) -> BadTask:
        return BadTask(what, where=where, remedy='a row is exactly {"prompt": "...", "answer": "..."}')

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        table: dict[str, object] = {}
        for key, value in items:
            if key in table:
                raise fail(f"key {clean(key[:40])!r} is given twice")
            table[key] = value
        return table

    if len(line) > MAX_LINE_BYTES:
        raise fail(f"{len(line)} bytes, the cap is {MAX_LINE_BYTES}")
    if not line.strip():
        raise fail("the line is empty")
    if line.startswith(_MARK):
        raise fail("begins with a byte order mark, which belongs into no JSON; save the file as UTF-8 without one")
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise fail("not valid UTF-8" if isinstance(error, UnicodeDecodeError) else "not valid JSON") from error
    if not isinstance(row, dict):
        raise fail("not a JSON object")
    unknown = next((key for key in row if key not in _KEYS), None)
    if unknown is not None:
        raise fail(f"unknown key {clean(unknown[:40])!r}")
    for key in _KEYS:
        if not isinstance(row.get(key), str) or not row[key]:
            raise fail(f"{key!r} is not a text of at least one character")
        try:
            row[key].encode("utf-8")
        except UnicodeEncodeError as error:
            raise fail(f"{key!r} holds half a surrogate pair") from error
    return TaskRow(row["prompt"], row["answer"])
