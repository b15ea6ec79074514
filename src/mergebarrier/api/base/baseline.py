"""What an earlier scan has listed, and whether what is found now is the same.

    known  <=>  rule, severity, model and file are listed; and what could run code has the same evidence
    refused <=>  it lies in what is scanned, or in a repository of git that an upload lies in

Whoever may change an upload would else decide what of it is known.  The evidence of a pickle, a program, an archive or
what names code holds the digest of the file, so that one with the same imports and other arguments is news.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from mergebarrier.checkpoint.bytes import inside, parse_text, read_small
from mergebarrier.errors import BadScanInput, MergebarrierError, clean, odd_shape
from mergebarrier.scan import UNSEEN, Finding

_MAX_BASELINE_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class Baseline:
    """The evidence of listed findings, by fingerprint."""

    listed: Mapping[str, Sequence[object]]

    def known(self, findings: Sequence[Finding]) -> tuple[str, ...]:
        """Return the listed fingerprints that stand for the same in these findings."""
        grave = [one for one in findings if one.severity == "critical" or "sha256" in one.evidence]
        news = {one.fingerprint for one in grave if not self._is_same(one)}
        return tuple(one for one in self.listed if one not in news)

    def _is_same(self, found: Finding) -> bool:
        # A file that was too long for a digest has None, and nobody can say that it is the same.
        return found.evidence.get("sha256", "") is not None and found.evidence in self.listed.get(found.fingerprint, ())


def read_baseline(path: str | os.PathLike[str], scanned: Sequence[Path] = ()) -> Baseline:
    """Read the findings in a document that ``scan --json`` wrote.

    Args:
      path:    of the document.
      scanned: folders that are looked at; none of them, nor its repository, may hold the document or a link to it.
    Raises: BadScanInput for anything else.
    """
    file = Path(path).absolute()
    places = (file.parent.resolve() / file.name, file.resolve())
    for root in dict.fromkeys(root for folder in scanned for root in _owned(folder.absolute())):
        if any(inside(place, root) for place in places):
            what = f"it lies in {clean(root)}, whose owner would decide what is known there"
            raise BadScanInput(what, where=path, remedy="keep it elsewhere; docs/scan.md says how in a workflow")
    try:
        text = read_small(file.parent.resolve(), file.name, _MAX_BASELINE_BYTES)
        document = parse_text(text, partial(BadScanInput, where=path), where=path)
        found: dict[str, list[object]] = {}
        for one in (one for one in document["findings"] if one["rule"] != UNSEEN):
            found.setdefault(str(one["fingerprint"]), []).append(one.get("evidence"))
        if document["kind"] != "scan":
            raise BadScanInput("it is a document of another kind", where=path)
    except (MergebarrierError, ValueError, KeyError, TypeError) as fault:
        what = f"is no report of a scan: {odd_shape(fault)}"
        raise BadScanInput(what, where=path, remedy="write one with `mergebarrier scan ... --json`") from fault
    return Baseline(found)


def _owned(folder: Path) -> Iterator[Path]:
    """Yield a folder and the repository of git that it lies in, by its name and by where a link leads."""
    for start in (folder.parent.resolve() / folder.name, folder.resolve()):
        yield start
        yield from [above for above in (start, *start.parents) if (above / ".git").exists()][:1]
