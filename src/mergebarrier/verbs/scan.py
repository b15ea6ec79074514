"""``scan``: look at every upload as a suspect, run the checks that its inputs allow, and say which did not run and why.

A folder that the strict reader refuses is a finding, not the end; without a base it is looked at alone; with one it is
compared tensor by tensor, and with tasks and a merge given, run on images.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from mergebarrier.checkpoint import Adapter, Checkpoint, is_adapter
from mergebarrier.errors import BadScanInput, BadTask
from mergebarrier.evaluate import read_image_task
from mergebarrier.progress import Progress
from mergebarrier.scan import (
    CHECKS,
    IMAGE_CHECKS,
    MIN_POOL,
    NOT_JUDGED,
    TEXT_CHECKS,
    UNSEEN,
    Finding,
    Outcome,
    Weights,
    judge_task_vectors,
    measure,
    ordered,
    scan_pool,
    unseen,
)
from mergebarrier.verbs.beside import guarded
from mergebarrier.verbs.folders import Models
from mergebarrier.verbs.language import LanguagePool, TextOutcome, TextScan, scan_texts
from mergebarrier.verbs.pools import distinct, loaded, merge_weights, pool_of
from mergebarrier.verbs.scan_request import Coverage, ScanRequest, is_images, task_checks
from mergebarrier.verbs.update_scan import judge_updates
from mergebarrier.verbs.uploads import Upload, called, like_base, look, relate


@dataclass(frozen=True)
class ScanResult:
    """What a scan did and found.

    Args:
      findings: the gravest first.
      ran:      names of the checks that ran.
      left_out: (check that was asked for, why it did not run).
      digests:  name -> content digest of every model that could be read.
      folders:  name -> the folders that make it, as they were given.
      outcome:  figures of the checks on images; None where none ran.
      texts:    figures of the checks on language models; likewise.
    """

    findings: tuple[Finding, ...]
    ran: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    digests: dict[str, str]
    folders: dict[str, tuple[Path, ...]]
    outcome: Outcome | None = None
    texts: TextOutcome | None = None


def scan(request: ScanRequest, *, progress: Progress | None = None) -> ScanResult:
    """Scan model folders.

    Raises: BadScanInput (an unknown check, too few task files), BadTask and whatever the loading of an encoder raises;
            never for what an upload holds, which is a finding.
    """
    unknown = [name for name in request.checks if name not in CHECKS]
    if unknown:
        raise BadScanInput(f"no check {unknown[0]!r}", where="checks", remedy="choose from " + ", ".join(CHECKS))
    if request.tasks and len(request.tasks) != len(request.models):
        raise BadScanInput(
            f"{len(request.tasks)} task files for {len(request.models)} models",
            where="--task",
            remedy="give one per model, in the same order, or none",
        )
    if 1 < request.leave_out >= len(request.models):
        raise BadScanInput(
            f"of {len(request.models)} models, leaving out {request.leave_out} leaves nothing to merge",
            where="--leave-out",
            remedy="scan three models or more, or leave it out",
        )
    if len({is_images(task) for task in request.tasks}) > 1:
        raise BadScanInput("tasks of images and of text", where="--task", remedy="scan models of one kind at a time")
    names = distinct([called(path) for path in request.models])
    uploads = [Upload(name, path, request.each) for name, path in zip(names, request.models, strict=True)]
    found = _FoundSoFar(request)
    tasks = dict(zip(names, request.tasks, strict=False))
    if request.each:
        for done, upload in enumerate(uploads, start=1):
            found.judge([upload], tasks, None)
            if progress is not None:
                progress(done, len(uploads))
    else:
        found.judge(uploads, tasks, progress)
    findings = (*found.findings, *found.coverage.blind(names))
    folders = {upload.name: upload.folders for upload in uploads}
    if request.base is not None:
        folders["base"] = Upload("base", request.base).folders
    ran, left_out = found.coverage.checks, found.coverage.left_out
    return ScanResult(ordered(findings), ran, left_out, found.digests, folders, found.outcome, found.texts)


class _FoundSoFar:
    """What a scan has found so far."""

    def __init__(self, request: ScanRequest) -> None:
        self.request = request
        self.findings: list[Finding] = []
        self.coverage = Coverage(request)
        self.digests: dict[str, str] = {}
        self.outcome: Outcome | None = None
        self.texts: TextOutcome | None = None

    def judge(self, uploads: Sequence[Upload], tasks: dict[str, Path], progress: Progress | None) -> None:
        """Run every check on some uploads, which are closed at the end."""
        with ExitStack() as stack:
            folders = Models(stack)
            base, usable = self._look_at(uploads, folders)
            self._compare(base, usable)
            self._judge_updates(base, usable if base is not None else self._adapters(uploads, folders))
            self._run_on_images(base, usable, tasks, progress)
            self._run_on_texts(base, usable, tasks, progress)

    def _look_at(self, uploads: Sequence[Upload], folders: Models) -> tuple[Checkpoint | None, dict[str, Checkpoint]]:
        """Look at uploads alone and against the base; return the base and the models that hold its tensors."""
        base = self._base(folders)
        usable: dict[str, Checkpoint] = {}
        for upload in uploads:
            checkpoint = look(upload, self.request.base, folders, self.findings, workers=self.request.workers)
            if checkpoint is None:
                continue
            self.digests[upload.name] = checkpoint.content_digest()
            if base is not None:
                self._guarded(upload.name, partial(self._against, base, upload.name, checkpoint, usable))
        if "relation" in self.request.checks:
            why = "needs --base" if self.request.base is None else "no table fits these models"
            self.coverage.lacks({"relation": why})
        return base, usable

    def _base(self, folders: Models) -> Checkpoint | None:
        if self.request.base is None:
            return None
        found: list[Finding] = []
        base = look(Upload("base", self.request.base), None, folders, found, workers=self.request.workers)
        self.findings += [one for one in found if one not in self.findings]
        if base is not None:
            self.digests["base"] = base.content_digest()
        elif not any(one.rule == UNSEEN for one in found):
            self.findings.append(unseen("base", "", "the base is refused, so nothing was compared with it"))
        return base

    def _against(self, base: Checkpoint, name: str, checkpoint: Checkpoint, usable: dict[str, Checkpoint]) -> None:
        view = like_base(base, name, checkpoint, self.findings)
        if view is None:
            return
        usable[name] = view
        if "relation" in self.request.checks and relate(base, name, view, self.findings):
            self.coverage.ran(["relation"], [name])

    def _guarded(self, name: str, work: Callable[[], object]) -> bool:
        """Do something with an upload, or with a merge; what stops that is told, and no end of the scan."""
        fault = guarded(name, "", work, asked=(BadTask, BadScanInput))
        if fault is not None:
            self.findings.append(fault)
            self.coverage.fails(fault)
        return fault is None

    def _compare(self, base: Checkpoint | None, usable: dict[str, Checkpoint]) -> None:
        """Compare the task vectors of the models with each other."""
        if "task_vectors" not in self.request.checks:
            return
        if base is None or len(usable) < MIN_POOL:
            self.coverage.lacks({"task_vectors": f"needs a base and {MIN_POOL} models that fit it"})
            return

        def work() -> None:
            statistics = measure(_tensors(base, list(usable.values())), len(usable))
            self.findings += judge_task_vectors(list(usable), statistics)
            self.coverage.ran(["task_vectors"], usable)

        self._guarded("pool of all", work)

    def _adapters(self, uploads: Sequence[Upload], folders: Models) -> dict[str, Adapter]:
        """Open the adapters among uploads that could be read."""
        return {
            one.name: folders.adapter(one.path)
            for one in uploads
            if one.name in self.digests and isinstance(one.path, Path) and is_adapter(one.path)
        }

    def _judge_updates(self, base: Checkpoint | None, usable: Mapping[str, Checkpoint | Adapter]) -> None:
        """Judge each update beside honest ones by its recipe."""
        if "updates" not in self.request.checks:
            return
        if not self.request.updates.wanted or (base is None and not usable):
            self.coverage.lacks({"updates": "needs a base or adapters, and --references or --declared-rank"})
            return
        self.coverage.lacks({} if usable else {"updates": "no model that fits the base"})
        found, seen = judge_updates(base, usable, self.request.updates, self._guarded)
        self.findings += found
        not_judged = {one.model for one in found if one.rule == NOT_JUDGED}
        if not_judged:
            self.coverage.lacks({"updates": "there is nothing to judge its update by"})
        self.coverage.ran(["updates"], {*seen} - not_judged)

    def _run_on_images(
        self,
        base: Checkpoint | None,
        usable: dict[str, Checkpoint],
        tasks: dict[str, Path],
        progress: Progress | None,
    ) -> None:
        """Run the checks on images that can run."""
        wanted, left_out = task_checks(self.request, IMAGE_CHECKS, base, usable)
        self.coverage.lacks(left_out)
        if not wanted or base is None:
            return
        merge, experts = self.request.merge, dict[str, Weights]()
        for name, checkpoint in usable.items():
            self._guarded(name, partial(_load, base, name, checkpoint, experts))
        if not experts:
            self.coverage.lacks(dict.fromkeys(wanted, "no model that can be run"))
            return
        images = {name: read_image_task(tasks[name]) for name in experts}

        def work() -> None:
            pool = pool_of(base, experts, images, self._guarded)
            if pool is None:
                return
            self.outcome = scan_pool(
                pool,
                self.request.search,
                merge=None if merge is None else merge_weights(merge),
                checks=wanted,
                leave_out=self.request.leave_out,
                attempt=self._guarded,
                progress=progress,
            )
            self._told(wanted, self.outcome.findings, self.outcome.ran)

        self._run(wanted, work)

    def _run_on_texts(
        self,
        base: Checkpoint | None,
        usable: dict[str, Checkpoint],
        tasks: dict[str, Path],
        progress: Progress | None,
    ) -> None:
        """Run the checks on language models that can run."""
        wanted, left_out = task_checks(self.request, TEXT_CHECKS, base, usable)
        self.coverage.lacks(left_out)
        if not wanted or base is None:
            return
        merge = self.request.merge
        asked = TextScan(
            checks=wanted,
            tasks=tasks,
            refusals=self.request.refusals,
            merge=None if merge is None else merge_weights(merge),
            seed=self.request.search.seed,
            depth=self.request.depth,
        )

        def work() -> None:
            pool = LanguagePool(base, usable, self.request.device, self._guarded)
            self.texts, findings = scan_texts(pool, asked, progress)
            self._told(wanted, findings, self.texts.ran)

        self._run(wanted, work)

    def _told(self, wanted: Sequence[str], findings: Sequence[Finding], ran: Mapping[str, Sequence[str]]) -> None:
        """Note what checks found, and which uploads each looked at."""
        self.findings += findings
        for check, names in ran.items():
            self.coverage.ran([check], names)
        merges = [name for name in wanted if name not in ran and CHECKS[name].of_merge]
        self.coverage.lacks(dict.fromkeys(merges, "needs two models that can be run"))

    def _run(self, wanted: Sequence[str], work: Callable[[], object]) -> None:
        """Run checks on all models at once; what stops them is why they saw none, and what was found before is told."""
        fault = guarded("pool of all", "", work, asked=(BadTask, BadScanInput))
        if fault is not None:
            self.coverage.lacks(dict.fromkeys(wanted, fault.message))


def _load(base: Checkpoint, name: str, checkpoint: Checkpoint, experts: dict[str, Weights]) -> None:
    experts[name] = loaded(checkpoint, base)


def _tensors(base: Checkpoint, experts: Sequence[Checkpoint]) -> Iterator[tuple[str, Tensor, list[Tensor]]]:
    for name, info in base.tensors.items():
        if info.role == "weight" and all(name in expert.tensors for expert in experts):
            yield name, base.read(name), [expert.read(name) for expert in experts]
