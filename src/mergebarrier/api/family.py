"""``doctor --family``: is a table of a family right about the class that it describes?

A tiny model of every class is acted on axis by axis; its answers must stay, and must break where a word of the table
is changed.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from mergebarrier.api.base import Report, Row
from mergebarrier.errors import BadTable
from mergebarrier.verbs import BROKEN, KEPT, ClassCheck, check_tables

_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FamilyReport(Report):
    """How the tables of a file fare.

    Attributes:
      path:    as it was given.
      kept:    largest relative error of the outputs that counts as none.
      broken:  smallest one that a wrong table has to give.
      classes: a record per class of every family.
      passed:  whether every axis keeps the function, and breaks it by the wrong table.
    """

    kind: ClassVar[str] = "family"

    path: str
    kept: float
    broken: float
    classes: tuple[ClassCheck, ...]
    passed: bool

    def rows(self) -> list[Row]:
        """Return a row per axis of every class."""
        return [
            {"family": one.family, "architecture": one.architecture, **vars(axis)}
            for one in self.classes
            for axis in one.axes
        ]


def check_family(path: str | os.PathLike[str]) -> FamilyReport:
    """Check the tables of a file against the stock classes that they name.

    Args:
      path: text in the language of tables, or a Python file with such text in strings; nothing in it is run.
    Raises: BadTable, which names the line; UnsupportedFeature where transformers lacks a class; MissingExtra.
    """
    file = Path(path)
    if file.exists() and not file.is_file():  # a pipe or a device may have no end
        raise BadTable("it is not a regular file", where=file, remedy="give a text file with tables of families")
    try:
        size = file.stat().st_size
        source = file.read_text(encoding="utf-8") if size <= _MOST_BYTES else ""
    except (OSError, UnicodeDecodeError) as error:
        what = "it cannot be read" if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadTable(what, where=file, remedy="give a text file with tables of families") from error
    if size > _MOST_BYTES:
        raise BadTable(f"it has {size} bytes, a table has at most {_MOST_BYTES}", where=file, remedy="give less")
    classes = check_tables(source, str(path))
    passed = all(one.passed for one in classes)
    return FamilyReport(path=str(path), kept=KEPT, broken=BROKEN, classes=classes, passed=passed)
