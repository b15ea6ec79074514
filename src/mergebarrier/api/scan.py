"""``scan``: check models before they are merged, alone, compared with each other, and as a merge.

    failed  <=>  a finding is as grave as ``fail_on``, or graver

Finding nothing means that these checks found nothing; every finding says what its check cannot see.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Final

from mergebarrier import __version__, verbs
from mergebarrier.api.base import Model, Report, Row, beside, resolve, resolve_all, shown
from mergebarrier.merge import Merge
from mergebarrier.progress import Progress
from mergebarrier.report import render_findings
from mergebarrier.scan import CHECKS, RULES, Finding, Search, Severity, at_least

#: All but the one that is known to find little where others look better.
DEFAULT_CHECKS: Final = tuple(name for name in CHECKS if name != "neural_cleanse")


@dataclass(frozen=True, kw_only=True)
class ScanReport(Report):
    """What a scan did and found; a row per finding.

    Attributes:
      fail_on:         the severity from which the scan counts as failed.
      findings:        the gravest first.
      checks_run:      names of the checks that ran.
      checks_left_out: check that was asked for -> why it did not run.
      digests:         name -> content digest of every model that could be read.
      outcome:         all of it, with the patches that were found.
    """

    kind: ClassVar[str] = "scan"

    fail_on: Severity
    findings: tuple[Finding, ...]
    checks_run: tuple[str, ...]
    checks_left_out: Row
    digests: Row
    outcome: verbs.ScanResult = beside()

    @property
    def failed(self) -> bool:
        """Say whether a finding is as grave as ``fail_on``, or graver."""
        return bool(at_least(self.findings, self.fail_on))

    def document(self) -> dict[str, object]:
        """Return the document; it includes the figures of the search for patches if there was one."""
        findings = [{**asdict(found), "cannot_see": found.cannot_see} for found in self.findings]
        document = {**super().document(), "findings": findings}
        searched = self.outcome.outcome
        if searched is not None:
            experts = [{"name": one.name, "excess": one.excess, "probe": one.probe} for one in searched.experts]
            merged = [{"task": one.task, "excess": one.patch.excess} for one in searched.merged]
            document |= {"experts": experts, "merged": merged}
        return document

    def rows(self) -> Sequence[Row]:
        """Return a row per finding, the evidence in columns of its own."""
        rows = []
        for found in self.findings:
            row = {**asdict(found), "cannot_see": found.cannot_see}
            evidence = row.pop("evidence")
            rows.append(row | {f"evidence.{name}": value for name, value in evidence.items()})
        return rows

    def to_sarif(self) -> str:
        """Return the findings as a SARIF 2.1.0 document."""
        digests = self.outcome.digests
        return render_findings(self.findings, RULES, version=__version__, digests=digests, ran=self.checks_run)


def scan(
    models: Sequence[Model],
    *,
    base: Model,
    tasks: Sequence[str | os.PathLike[str]] = (),
    merge: Merge | None = None,
    checks: Sequence[str] = DEFAULT_CHECKS,
    search: Search | None = None,
    leave_out: int = 1,
    fail_on: Severity = "high",
    workers: int = 1,
    download: bool = False,
    progress: Progress | None = None,
) -> ScanReport:
    """Scan models.

    Args:
      models:    as ``resolve`` reads them; an adapter is put on the base.
      base:      what they were fine-tuned from.
      tasks:     task files of images, one per model, or none.
      merge:     how the models are going to be merged; None leaves out the checks on merges.
      checks:    names from ``scan.CHECKS``.
      search:    of patches.
      leave_out: most models left out of the merge at once, 1 or 2.
      fail_on:   the severity from which the scan counts as failed.
      workers:   threads of hashing.
      download:  fetch models that the local cache lacks.
      progress:  called with (models searched, models).
    Raises: BadScanInput, BadTask, and what loading an encoder raises; NotACheckpoint, FetchFailed, MissingExtra for a
            name of the Hub.  A folder that cannot be read is a finding.
    """
    request = verbs.ScanRequest(
        models=resolve_all(models, download=download),
        base=resolve(base, download=download),
        tasks=tuple(map(Path, tasks)),
        merge=merge,
        checks=tuple(checks),
        search=search or Search(),
        leave_out=leave_out,
        workers=workers,
    )
    with shown(progress, "scanning") as step:
        found = verbs.scan(request, progress=step)
    return ScanReport(
        fail_on=fail_on,
        findings=found.findings,
        checks_run=found.ran,
        checks_left_out=dict(found.left_out),
        digests=found.digests,
        outcome=found,
    )
