"""The file of a ledger, which only grows; and what every finding that rests on one shares."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mergebarrier.api.base import HEARD, ProvenanceInput, read_evidence
from mergebarrier.errors import BadKey, OutputExists, refused_by_system
from mergebarrier.evaluate import read_text
from mergebarrier.watermark import Ledger, LedgerHead, SamplingKey, Shielded, WordKey, line_of, read_ledger

#: What a finding assumes of key and ledger, and what it does not prove.
ASSUMED: Final = (
    "the key was drawn before the suspect's makers could know it, and its commitment was published then",
    "the ledger with its queries, what is drawn for the null and the level were fixed before the suspect was asked",
    HEARD,
)
NOT_PROVED: Final = ("who trained the suspect, when, and whether it was allowed",)


class LedgerFile:
    """A ledger that is being written; each row is on the disk before the next query is asked."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        """Take over a file whose rows have been read."""
        self._path, self.head, self.rows = path, ledger.head, list(ledger.rows)
        self.answered = {row.query for row in ledger.rows}

    @staticmethod
    def read(path: Path) -> Ledger:
        """Return what a ledger holds; BadReport, BadText."""
        return read_ledger(read_text(path), where=path)

    @classmethod
    def open(cls, path: Path, head: LedgerHead) -> "LedgerFile":
        """Start a ledger, or go on with one that was made in the same way.

        Raises: OutputExists for one that was made in another way.
        """
        if not path.exists():
            _append(path, line_of(head), mode=os.O_EXCL)
            return cls(path, Ledger(head=head))
        text = read_text(path)
        ledger = read_ledger(text, where=path)
        same = ("mode", "words", "template", "commitment", "bias")
        differs = [name for name in same if getattr(ledger.head, name) != getattr(head, name)]
        if differs:
            what = f"it was made with another {' and another '.join(differs)}"
            raise OutputExists(what, where=path, remedy="give the same key and options, or another file")
        os.truncate(path, len(text[: text.rfind("\n") + 1].encode()))  # a line that a kill cut off
        return cls(path, ledger)

    def add(self, row: Shielded) -> None:
        """Append a row; it is on the disk when this returns."""
        _append(self._path, line_of(row))
        self.rows.append(row)
        self.answered.add(row.query)


def read_ledger_file(path: str | os.PathLike[str]) -> tuple[Ledger, ProvenanceInput]:
    """Return a ledger and what it is in the evidence.  Raises: BadReport, BadText."""
    text, source = read_evidence(path, "ledger")
    return read_ledger(text, where=path), source


def drawn_rows(rows: Iterable[Shielded], drawn: WordKey | SamplingKey | None, count: int) -> list[Shielded]:
    """Return the rows whose queries a suspect is asked, in an order that the key draws, or that of the ledger."""
    listed = list(rows)
    if drawn is not None:
        listed.sort(key=lambda row: drawn.key.subkey(b"order", row.query))
    return listed[:count]


def check_commitment(drawn: WordKey | SamplingKey, ledger: Ledger, where: object) -> None:
    """Hold what a key commits to against a ledger.  Raises: BadKey."""
    if drawn.commitment() != ledger.head.commitment:
        beside = "the pool of words" if isinstance(drawn, WordKey) else "its scheme"
        what = f"this key and {beside} are not those that the ledger commits to"
        raise BadKey(what, where=where, remedy="give the key that `watermark shield` used")


def _append(path: Path, line: str, *, mode: int = 0) -> None:
    """Write a line at the end, readable by its owner alone: whoever holds words and queries can take the words out."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | mode, 0o600)
        try:
            with open(fd, "wb", closefd=False) as file:  # whole, where a disk takes it in pieces
                file.write(line.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as fault:
        raise refused_by_system(fault, path) or OutputExists(
            f"cannot be written: {fault.strerror}", where=path, remedy="choose a folder that exists"
        ) from fault
