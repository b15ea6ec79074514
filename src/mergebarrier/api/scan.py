"""``scan``: check models before they are merged, alone, compared with each other, and as a merge.

    failed    <=>  a finding that is not in the baseline is as grave as ``fail_on``, or graver
    complete  <=>  everything could be looked at; a folder that is refused below ``fail_on`` was not

Finding nothing means that these checks found nothing; every finding says what its check cannot see.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Final

from mergebarrier import __version__, verbs
from mergebarrier.api.base import Baseline, Model, Report, Row, beside, read_baseline, resolve, resolve_all, shown
from mergebarrier.checkpoint import Checkpoint, list_folder, read_head, split_reference
from mergebarrier.errors import BadScanInput, MergebarrierError, clean
from mergebarrier.evaluate import TASK_SUFFIX, device_for
from mergebarrier.merge import Merge
from mergebarrier.progress import Progress
from mergebarrier.report import ScanView, render_failure, render_findings, render_junit, render_junit_failure
from mergebarrier.scan import (
    CHECKS,
    HEAD_BYTES,
    REFUSED,
    RULES,
    UNSEEN,
    Collapse,
    Finding,
    Search,
    Severity,
    at_least,
    in_utf8,
    kind_of,
    may_be_old_pickle,
    runs,
)

#: All but the one that is known to find little where others look better.
DEFAULT_CHECKS: Final = tuple(name for name in CHECKS if name != "neural_cleanse")
#: Of a note about uploads; what is longer is asked by its beginning.
_MOST_NOTE_BYTES: Final = 1 << 24


@dataclass(frozen=True, kw_only=True)
class ScanReport(Report):
    """What a scan did and found; a row per finding.

    Attributes:
      fail_on:         the severity from which the scan counts as failed.
      findings:        the gravest first.
      known:           fingerprints of findings that the baseline lists; they do not fail.
      checks_run:      names of the checks that ran.
      checks_left_out: check that was asked for -> why it did not run.
      digests:         name -> content digest of every model that could be read.
      outcome:         all of it, with the patches that were found.
    """

    kind: ClassVar[str] = "scan"

    fail_on: Severity
    findings: tuple[Finding, ...]
    known: tuple[str, ...]
    checks_run: tuple[str, ...]
    checks_left_out: Row
    digests: Row
    outcome: verbs.ScanResult = beside()

    @property
    def failing(self) -> tuple[Finding, ...]:
        """Return the findings for which the scan fails."""
        return tuple(one for one in at_least(self.findings, self.fail_on) if one.fingerprint not in self.known)

    @property
    def failed(self) -> bool:
        """Say whether a finding that is not known is as grave as ``fail_on``, or graver."""
        return bool(self.failing)

    @property
    def unseen(self) -> tuple[Finding, ...]:
        """Return what could not be looked at; what the reader refused is among it where it does not fail the scan."""
        missed = [one for one in self.findings if one.rule == UNSEEN]
        refused = [one for one in self.findings if one.rule == REFUSED and one.fingerprint not in self.known]
        return (*missed, *(one for one in refused if one not in self.failing))

    @property
    def exit_code(self) -> int:
        """Return 2 where something could not be looked at, else 1 where the scan failed, else 0."""
        missed = any(one.rule == UNSEEN for one in self.unseen)
        return 2 if missed else 1 if self.failed else 2 if self.unseen else 0

    def document(self) -> dict[str, object]:
        """Return the document; it includes the figures of the search for patches if there was one."""
        findings = [_row(found) for found in self.findings]
        document = {**super().document(), "findings": findings}
        searched = self.outcome.outcome
        if searched is not None:
            experts = [{"name": one.name, "excess": one.excess, "probe": one.probe} for one in searched.experts]
            merged = [{"task": one.task, "excess": one.patch.excess} for one in searched.merged]
            images = [{"name": one.name, "excess": {w.carrier: w.excess for w in one.found}} for one in searched.images]
            document |= {"experts": experts, "images": images, "merged": merged}
        texts = self.outcome.texts
        if texts is not None:
            document["collapse"] = [_searched(name, one) for name, one in texts.uploads]
            document["merge_collapse"] = [
                {**_searched(task, one), "traced": [asdict(each) for each in traced]}
                for task, one, traced in texts.merged
            ]
            document["refusals"] = [{"name": one.name, **asdict(one.conduct)} for one in texts.asked]
        return document

    def rows(self) -> Sequence[Row]:
        """Return a row per finding, the evidence in columns of its own."""
        rows = []
        for found in self.findings:
            row = _row(found)
            del row["evidence"]
            rows.append(row | {f"evidence.{name}": value for name, value in found.evidence.items()})
        return rows

    def to_sarif(self) -> str:
        """Return the findings as a SARIF 2.1.0 document."""
        return render_findings(self._scanned())

    def to_junit(self) -> str:
        """Return the findings as JUnit XML, a suite per model."""
        return render_junit(self._scanned())

    def _scanned(self) -> ScanView:
        return ScanView(
            findings=self.findings,
            rules=RULES,
            version=__version__,
            places={name: _uri(folders[-1]) for name, folders in self.outcome.folders.items() if folders},
            digests=self.outcome.digests,
            ran=self.checks_run,
            left_out=dict(self.outcome.left_out),
            known=frozenset(self.known),
            failing=frozenset(one.fingerprint for one in self.failing),
            unseen=UNSEEN,
            exit_code=self.exit_code,
        )


def _searched(name: str, found: Collapse) -> dict[str, object]:
    figures = {"score": found.score, "changed": found.changed, "unprompted": found.unprompted}
    return {"name": name, **figures, "depth": found.depth, "forwards": found.forwards}


def _row(found: Finding) -> dict[str, object]:
    return {**asdict(found), "cannot_see": found.cannot_see, "fingerprint": found.fingerprint}


def _uri(folder: Path) -> str:
    """Return a folder as it is seen from here; one that lies elsewhere goes by its name alone."""
    real, here = os.path.abspath(folder), os.getcwd()
    inside = real == here or real.startswith(here.rstrip(os.sep) + os.sep)
    return clean(os.path.relpath(real, here).replace(os.sep, "/") if inside else os.path.basename(real))


def failure_to_junit(error: MergebarrierError) -> str:
    """Return the JUnit document of a scan that could not be made."""
    return render_junit_failure(str(error), error.code)


def failure_to_sarif(error: MergebarrierError) -> str:
    """Return the SARIF document of a scan that could not be made."""
    return render_failure(str(error), error.exit_code, rules=RULES, version=__version__)


def uploads_in(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the folders in a folder of uploads, sorted by name, and behind them the files that are no text.

    Raises: NotACheckpoint for what is no folder, BadScanInput for one that holds none.
    """
    path = Path(folder)
    names = sorted(list_folder(path))
    found = tuple(path / name for name in names if (path / name).is_dir())
    if not found:
        raise BadScanInput("holds no folder of an upload", where=path, remedy="give the folder that the uploads lie in")
    return found + tuple(path / name for name in names if path / name not in found and not _is_note(path, name))


def _is_note(folder: Path, name: str) -> bool:
    """Say whether a file beside the uploads is a text or a picture, as a note about them is, and runs nothing."""
    try:
        head = read_head(folder.resolve(), name, HEAD_BYTES)
        if kind_of(name, head) not in ("text", "media") or may_be_old_pickle(head):
            return False
        return not runs(name, in_utf8(read_head(folder.resolve(), name, _MOST_NOTE_BYTES)))
    except MergebarrierError:
        return False


def scan(
    models: Sequence[Model],
    *,
    base: Model | None = None,
    tasks: Sequence[str | os.PathLike[str]] = (),
    merge: Merge | None = None,
    checks: Sequence[str] | None = None,
    search: Search | None = None,
    leave_out: int = 1,
    depth: int = 3,
    refusals: Sequence[str | os.PathLike[str]] = (),
    references: str | os.PathLike[str] | None = None,
    calibrate: bool = False,
    declared_rank: int | None = None,
    fail_on: Severity = "high",
    baseline: str | os.PathLike[str] | None = None,
    each: bool = False,
    workers: int = 1,
    device: str = "cpu",
    download: bool = False,
    progress: Progress | None = None,
) -> ScanReport:
    """Scan models.

    Args:
      models:    as ``resolve`` reads them; an adapter is put on the base.
      base:      what they were fine-tuned from; without one, every model is looked at alone.
      tasks:     task files of images or of text, one per model, or none.
      merge:     how the models are going to be merged; None leaves out the checks on merges.
      checks:    names from ``scan.CHECKS``; each must run on every model, or the scan is not complete.  None: those of
                 ``DEFAULT_CHECKS`` that can run.
      search:    of patches.
      leave_out: most models left out of the merge at once, 1 or 2.
      depth:     longest string of tokens that is searched for in language models, 1 to 3.
      refusals:  files of questions for language models, each answered as it ought to be refused.
      references: file of honest fine-tunes of the base, which updates are judged beside.
      calibrate: the models are honest fine-tunes: add them to that file.
      declared_rank: rank of the adapters that the models are said to be.
      fail_on:   the severity from which the scan counts as failed.
      baseline:  a document of ``scan --json``; the findings in it are known, and do not fail.
      each:      ``models`` are folders of uploads: every folder in them is judged by itself, one after the other.
      workers:   threads of hashing.
      device:    "auto", "cpu", "cuda" or "cuda:N", of models of language.
      download:  fetch models that the local cache lacks.
      progress:  called with (models searched, models).
    Raises: BadScanInput, BadTask, and what loading an encoder raises; NotACheckpoint, FetchFailed, MissingExtra for a
            name of the Hub.  Whatever a model holds is a finding.
    """
    listed = Baseline({})
    if baseline is not None:
        scanned = [folder for model in models for folder in _folders_of(model, download=download)]
        listed = read_baseline(baseline, scanned)
    if calibrate and references is None:
        raise BadScanInput("needs a file", where="--calibrate", remedy="give --references FILE")
    if each and (tasks or refusals or merge is not None):
        raise BadScanInput(
            "judges uploads one by one", where="--each", remedy="leave out --task, --refusals and --merge"
        )
    of_images = any(os.fspath(task).endswith(TASK_SUFFIX) for task in tasks)
    request = verbs.ScanRequest(
        models=_uploads(models) if each else resolve_all(models, download=download),
        base=None if base is None else resolve(base, download=download),
        tasks=tuple(map(Path, tasks)),
        merge=merge,
        checks=DEFAULT_CHECKS if checks is None else tuple(checks),
        named=checks is not None,
        search=search or Search(),
        leave_out=leave_out,
        depth=depth,
        refusals=tuple(map(Path, refusals)),
        updates=verbs.UpdateScan(
            references=None if references is None else Path(references),
            calibrate=calibrate,
            declared_rank=declared_rank,
        ),
        device=device_for(device, processor="patches are searched for on the processor" if of_images else ""),
        workers=workers,
        each=each,
    )
    with shown(progress, "scanning") as step:
        found = verbs.scan(request, progress=step)
    return ScanReport(
        fail_on=fail_on,
        findings=found.findings,
        known=listed.known(found.findings),
        checks_run=found.ran,
        checks_left_out=dict(found.left_out),
        digests=found.digests,
        outcome=found,
    )


def _folders_of(model: Model, *, download: bool) -> list[Path]:
    """Return the folders that a model, or a folder of uploads, is read from."""
    found = resolve(model, download=download)
    if isinstance(found, Checkpoint):
        return [found.path]
    return [part for part in split_reference(found) if part is not None]


def _uploads(folders: Sequence[Model]) -> tuple[Path, ...]:
    given = [folder for folder in folders if not isinstance(folder, Checkpoint)]
    return tuple(path for folder in given for path in uploads_in(folder))
