"""``write_statement``: evidence as one page for people who decide, and one document for platforms; signed if asked.

FOLDER/statement.html   claim, finding, null, p, what it does not prove, the command, digests of every input
FOLDER/statement.json   the same, and the whole report
FOLDER.sig              over both, by the owner's key (model-signing)
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mergebarrier import __version__
from mergebarrier.api.base import Json, ProvenanceEvidence, document_of, p_value
from mergebarrier.api.signature import check_signing_key, sign
from mergebarrier.report import render_statement, write_statement_files

FILES: Final = ("statement.html", "statement.json")


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
    if key is not None:
        check_signing_key(key)
    document = statement_of(report)
    write_statement_files(Path(folder), render_statement(document), document)
    return Path(folder) if key is None else sign(folder, key)


def statement_of(report: ProvenanceEvidence) -> dict[str, Json]:
    """Return the document of a statement."""
    said = report.said()
    return document_of(
        {
            "kind": "statement",
            "title": said.title,
            "claim": report.claim,
            "findings": [{**vars(one), "p_in_words": p_value(one.p)} for one in said.findings],
            "null": said.null,
            "level": said.level,
            "assumed": report.assumed,
            "not_proved": report.not_proved,
            "command": report.command,
            "inputs": report.inputs,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": __version__,
            "report": report.to_dict(),
        }
    )
