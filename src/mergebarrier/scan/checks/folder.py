"""What a folder shows before its weights are read: refusals of the strict reader, and the owner's declarations.

Elsewhere a refused file ends the run; for a scan it is the result.  What manifest and card declare is reported, whoever
wrote it.

    refusal -> MB7101 with the code of the error;   tag in manifest or card -> MB7102 (attack) or MB7103 (wish)
    a key that names code that no one needs -> MB7106

Source: the strict reader's own errors.  Differs: nothing is decided here that the reader did not decide.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from mergebarrier.errors import (
    AdapterRefused,
    CheckpointError,
    MergebarrierError,
    NotACheckpoint,
    PickleRefused,
    RemoteCodeRefused,
    UnsafePath,
    clean,
)
from mergebarrier.scan.base import REFUSED, UNSEEN, Finding, Place, Severity, file_finding, finding

_FILE: Final = re.compile(r".+\.(safetensors|json|jinja|md|txt|model|bin|pt|pth|ckpt|pkl|pickle|joblib|npy|npz|mar)")
_CRITICAL: Final = (UnsafePath, PickleRefused, RemoteCodeRefused)
_ODD: Final = (AdapterRefused, NotACheckpoint)


def refusal(model: str, error: MergebarrierError, file: str = "") -> Finding:
    """Turn the error that refused a folder into a finding.

    Args:
      model: its name in findings.
      error: by which the strict reader refused it; its place names the file where ``file`` does not.
      file:  that was refused, below the folder.
    Returns: critical where opening could have run code or led out of the folder; "not looked at" where there is no
             model, or one of a kind that is not read; else high: weights that cannot be used.
    """
    severity: Severity = "critical" if isinstance(error, _CRITICAL) else "high"
    rule = UNSEEN if isinstance(error, _ODD) or not isinstance(error, CheckpointError) else REFUSED
    at = Place(file or _file_of(error))
    return file_finding(rule, model, str(error), at, severity=severity, evidence={"code": error.code})


def _file_of(error: MergebarrierError) -> str:
    """Return the bare name of the file that an error is about; errors write ``folder/file: tensor 'x'``."""
    bare = error.where.split(": tensor ")[0].rpartition("/")[2]
    return bare if _FILE.fullmatch(bare) else ""


def named_code(model: str, code: Mapping[str, Sequence[str]]) -> tuple[Finding, ...]:
    """Report keys that name code; ``code`` is file -> keys, of a folder that is read without them."""
    return tuple(
        file_finding("MB7106", model, f"{clean(', '.join(keys))} of {name} names code", Place(name))
        for name, keys in code.items()
    )


def tags(model: str, *, attack: bool, wish: str, protected: bool) -> tuple[Finding, ...]:
    """Return what a folder declares about its purpose.

    Args:
      model:     its name in findings.
      attack:    whether manifest or card mark it as made by an attack.
      wish:      the words by which its owner asks not to merge it; "" for none.
      protected: whether its owner says that it is protected against merging.
    """
    findings = []
    if attack:
        message = "manifest or card carries the tag attack-artifact: a poisoned model made for research"
        findings.append(finding("MB7102", model, message))
    if wish or protected:
        said = wish or "protected against merging"
        findings.append(finding("MB7103", model, f"its owner says: {said}", evidence={"says": said}))
    return tuple(findings)
