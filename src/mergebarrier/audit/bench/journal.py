"""Finished rows: each is identified by a hash of everything that its figures depend on, so that nothing is measured
twice.

row_id = SHA-256(canonical JSON of {what, digests of models and rows, merge and parameters, dtype, version})
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Protocol, TypeAlias

from mergebarrier import __version__
from mergebarrier.results import Cell, Measurement

#: What a row's figures depend on; all of it can be written as JSON.
Identity: TypeAlias = Mapping[str, object]
Figures: TypeAlias = Mapping[str, float | int | None]


class MeasurementJournal(Protocol):
    """Where finished rows are kept; ``report.Journal`` keeps them on disk."""

    def find(self, row_id: str) -> Cell | Measurement | None:
        """Return a finished row."""

    def add(self, row: Cell | Measurement) -> None:
        """Keep a row that was finished just now."""

    @property
    def used(self) -> list[Cell | Measurement]:
        """Rows that were found or added."""


def row_id(identity: Identity) -> str:
    """Return the name of a row; a row of another version of this package has another name."""
    from mergebarrier.checkpoint import canonical_json

    return hashlib.sha256(canonical_json({"version": __version__, **identity})).hexdigest()


def finite(value: float | int | None) -> float | int | None:
    """Return a figure as JSON can hold it: None where it is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
