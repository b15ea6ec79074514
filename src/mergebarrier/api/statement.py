"""``write_statement``: evidence as one page for people who decide, and one document for platforms; signed if asked.

FOLDER/statement.html   claim, finding, null, p, what it does not prove, the command, digests of every input
FOLDER/statement.json   the same, and the whole report
FOLDER.sig              over both, by the owner's key (model-signing)
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from mergebarrier import __version__
from mergebarrier.api.base import EvidenceFinding, ProvenanceEvidence, ProvenanceInput, Report, p_value
from mergebarrier.api.signature import check_signing, sign
from mergebarrier.report import check_statement_folder, render_statement, write_statement_files


@dataclass(frozen=True, kw_only=True)
class StatedFinding(EvidenceFinding):
    """A finding, and its p as a person reads it."""

    p_in_words: str


@dataclass(frozen=True, kw_only=True)
class Statement(Report):
    """Evidence for people who decide and for platforms.

    Attributes:
      title:    what kind of evidence.
      claim, assumed, not_proved, resolution, command, inputs: as in the report.
      findings: one per suspect or candidate.
      null:     what p is the chance of.
      level:    at which a finding holds.
      made:     when, ISO 8601, by which ``version`` of this package.
      document_of_report: the whole document that the verb prints with ``--json``.
    """

    kind: ClassVar[str] = "statement"

    title: str
    claim: str
    findings: tuple[StatedFinding, ...]
    null: str
    level: float
    assumed: tuple[str, ...]
    not_proved: tuple[str, ...]
    resolution: str
    command: str
    inputs: tuple[ProvenanceInput, ...]
    made: str
    version: str
    document_of_report: Mapping[str, object]


def write_statement(
    report: ProvenanceEvidence, folder: str | os.PathLike[str], *, key: str | os.PathLike[str] | None = None
) -> Path:
    """Write a report as a page and a document; return the folder, or the signature where there is a key.

    Args:
      report: of any verb that gives evidence.
      folder: to make; one that holds anything else than a statement is left alone.
      key:    private elliptic curve key in PEM, whose owner vouches for the folder.
    Raises: OutputExists, BadKey, MissingExtra, UnsafePath.
    """
    check_page(folder, key)
    document = statement_of(report).to_dict()
    write_statement_files(Path(folder), render_statement(document), document)
    return Path(folder) if key is None else sign(folder, key)


def check_page(folder: str | os.PathLike[str], key: str | os.PathLike[str] | None = None) -> None:
    """Refuse what could not be written or signed before anything is computed, or anybody asked.

    Raises: OutputExists, BadKey, MissingExtra, UnsafePath.
    """
    check_statement_folder(Path(folder))
    if key is not None:
        check_signing(folder, key)


def statement_of(report: ProvenanceEvidence) -> Statement:
    """Return the document of a statement."""
    said = report.said()
    return Statement(
        claim=report.claim,
        assumed=report.assumed,
        not_proved=report.not_proved,
        resolution=report.resolution,
        command=report.command,
        inputs=report.inputs,
        title=said.title,
        findings=tuple(StatedFinding(**vars(one), p_in_words=p_value(one.p, tail=one.tail)) for one in said.findings),
        null=said.null,
        level=said.level,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        document_of_report=report.to_dict(),
    )
