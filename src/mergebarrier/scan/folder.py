"""What a folder says before a weight is looked at: refusals of the strict reader, and what the owner wrote in it.

Elsewhere a refused file ends the run; for a scan it is the result.  The manifest and the card are read as data, and
tags in them are recognised whoever wrote them.

    refusal -> MB7101 with the code of the error;   tag in manifest or card -> MB7102 (attack) or MB7103 (wish)

Source: the strict reader's own errors.  Differs: nothing is decided here that the reader did not decide.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mergebarrier.errors import (
    AdapterRefused,
    CheckpointError,
    MergebarrierError,
    NotACheckpoint,
    PickleRefused,
    RemoteCodeRefused,
    UnsafePath,
)
from mergebarrier.scan._finding import Finding, Severity, finding

ATTACK_TAG: Final = "attack-artifact"
#: Tags by which an owner asks not to be merged; the second is what ``protect`` leaves in the manifest.
WISHES: Final = ("do-not-merge", "do_not_merge", "no-merge", "protected")
_CRITICAL: Final = (UnsafePath, PickleRefused, RemoteCodeRefused)
_ODD: Final = (AdapterRefused, NotACheckpoint)
_DEPTH: Final = 4


def refusal(model: str, error: MergebarrierError) -> Finding:
    """Turn the error that refused a folder into a finding.

    Returns: critical where opening could have run code or led out of the folder; medium where the folder is no model;
             else high: weights that nobody can use.
    """
    severity: Severity = "critical" if isinstance(error, _CRITICAL) else "high"
    if isinstance(error, _ODD) or not isinstance(error, CheckpointError):
        severity = "medium"
    return finding("MB7101", model, str(error), severity=severity, evidence={"code": error.code})


def tags(model: str, manifest: Mapping[str, Any] | None, card: str) -> tuple[Finding, ...]:
    """Return what manifest and card say about the folder's purpose.

    Args:
      model:    its name in findings.
      manifest: the ``content`` of mergebarrier.json; None where there is none.
      card:     the text of README.md; empty where there is none.
    """
    said = [word for word, value in _words(manifest or {}, _DEPTH) if value]
    said += _front_matter(card)
    found = []
    if ATTACK_TAG in said:
        message = "manifest or card carries the tag attack-artifact: a poisoned model made for research"
        found.append(finding("MB7102", model, message, evidence={"tag": ATTACK_TAG}))
    if (manifest or {}).get("verb") == "protect":
        said.append("protected")
    wish = next((word for word in WISHES if word in said), None)
    if wish is not None:
        found.append(finding("MB7103", model, f"the folder is tagged {wish}", evidence={"tag": wish}))
    return tuple(found)


def _words(table: Mapping[str, Any], depth: int) -> Iterator[tuple[str, bool]]:
    """Yield every key with whether it is set, and every string in a list of tags, a few levels deep."""
    for key, value in table.items():
        yield str(key).replace("_", "-"), value is True or value == "true"
        if isinstance(value, list):
            yield from ((item, True) for item in value if isinstance(item, str))
        elif isinstance(value, Mapping) and depth:
            yield from _words(value, depth - 1)


def _front_matter(card: str) -> list[str]:
    """Return the bare words of a card's front matter: items of lists, and keys set to true."""
    parts = card.split("---", 2)
    if len(parts) < 3 or parts[0].strip():
        return []
    words = []
    for line in parts[1].splitlines():
        key, _, value = line.strip().removeprefix("- ").partition(":")
        if not value.strip() or value.strip().lower() == "true":
            words.append(key.strip().strip("\"'"))
    return words
