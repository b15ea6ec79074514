"""What ``scan`` is asked, which of its checks can run at all, and which looked at which uploads.

    blind  <=>  a check that was asked for did not run on an upload

A check is asked for by its name, or by the tasks or questions that it alone needs; a gate that could not look has not
passed.  Of other checks it is only said why they did not run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.evaluate import TASK_SUFFIX
from mergebarrier.merge import Merge
from mergebarrier.scan import CHECKS, IMAGE_CHECKS, MERGED, UNSEEN, Finding, Search, finding
from mergebarrier.verbs.update_scan import UpdateScan

_ALONE = "the upload is refused, does not fit the base or cannot be run"


@dataclass(frozen=True)
class ScanRequest:
    """What is scanned and how hard.

    Args:
      models:    folders of models, of adapters, which are put on the base, or ``BASE+ADAPTER``; or opened models.
      base:      what they were fine-tuned from; None leaves out the checks that compare.
      tasks:     task files of images or of text, one per model in the order of the models, or none.
      merge:     how the models are going to be merged; None leaves out the checks on merges.
      checks:    names from ``scan.CHECKS``.
      named:     whether the checks were named by whoever asks; then each must run on every model.
      search:    of patches; its seed is that of the search for inputs too.
      leave_out: most models left out at once.
      refusals:  files of questions that ought to be refused, for language models.
      updates:   what the weights of fine-tunes are judged beside.
      depth:     longest string of tokens that is searched for in language models.
      device:    where models of language run, as ``device_for`` returns it.
      workers:   threads of hashing.
      each:      judge the uploads one by one, each closed before the next is opened; none is compared with another.
    """

    models: tuple[Path | Checkpoint, ...]
    base: Path | Checkpoint | None = None
    tasks: tuple[Path, ...] = ()
    merge: Merge | None = None
    checks: tuple[str, ...] = tuple(CHECKS)
    named: bool = False
    search: Search = field(default_factory=Search)
    leave_out: int = 1
    refusals: tuple[Path, ...] = ()
    updates: UpdateScan = field(default_factory=UpdateScan)
    depth: int = 3
    device: str = "cpu"
    workers: int = 1
    each: bool = False


def is_images(task: Path) -> bool:
    """Say whether a task file is of images."""
    return task.name.endswith(TASK_SUFFIX)


def task_checks(
    request: ScanRequest, checks: Sequence[str], base: Checkpoint | None, usable: dict[str, Checkpoint]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return which of the checks on tasks of one kind can run, and why the others cannot."""
    wanted: list[str] = []
    left_out: dict[str, str] = {}
    images = checks == IMAGE_CHECKS
    for name in (name for name in checks if name in request.checks):
        check = CHECKS[name]
        if check.of_questions and not request.refusals:
            left_out[name] = "needs --refusals"
        elif check.of_tasks and (not request.tasks or is_images(request.tasks[0]) != images):
            left_out[name] = f"needs --task of {'images' if images else 'text'}"
        elif base is None or not usable:
            left_out[name] = "no model that fits the base"
        elif check.of_merge and request.merge is None:
            left_out[name] = "needs --merge"
        elif check.of_merge and len(usable) < 2:
            left_out[name] = "needs two models that fit the base"
        else:
            wanted.append(name)
    return tuple(wanted), left_out


class Coverage:
    """What has run so far, and why the rest has not."""

    def __init__(self, request: ScanRequest) -> None:
        """Begin with nothing."""
        self._request = request
        self._seen: dict[str, set[str]] = {name: set() for name in CHECKS}
        self._why: dict[str, str] = {}
        self._faults: dict[str, str] = {}

    def ran(self, checks: Iterable[str], uploads: Iterable[str]) -> None:
        """Note that checks ran on uploads."""
        looked_at = set(uploads)
        for check in checks:
            self._seen[check] |= looked_at

    def lacks(self, why: dict[str, str]) -> None:
        """Note why checks do not run."""
        self._why |= why

    def fails(self, fault: Finding) -> None:
        """Note what an upload did to whatever looked at it, which says more than that a check did not run."""
        self._faults.setdefault(fault.model, fault.message)

    @property
    def checks(self) -> tuple[str, ...]:
        """Return the checks that ran on any upload; what lies in the folders is always looked at."""
        return tuple(name for name in CHECKS if name == "folder" or self._seen[name])

    @property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        """Return the checks that ran on no upload, and why."""
        return tuple((name, why) for name, why in self._why.items() if name not in self.checks)

    def blind(self, uploads: Iterable[str]) -> tuple[Finding, ...]:
        """Return a finding for every upload that checks which were asked for did not look at."""
        asked = [name for name in self._request.checks if name != "folder" and self._is_asked_for(name)]
        findings = []
        for upload in uploads:
            reasons: dict[str, list[str]] = {}
            for name in (name for name in asked if upload not in self._seen[name]):
                why = _ALONE if self._seen[name] else self._why.get(name, _ALONE)
                if CHECKS[name].of_merge and not self._seen[name]:
                    why = self._faults.get(MERGED, why)
                reasons.setdefault(self._faults.get(upload, why), []).append(name)
            findings += [
                finding(UNSEEN, upload, f"could not be looked at by {', '.join(names)}: {why}")
                for why, names in reasons.items()
            ]
        return tuple(findings)

    def _is_asked_for(self, name: str) -> bool:
        request, check = self._request, CHECKS[name]
        if request.named:
            return True
        if check.of_merge and request.merge is None:
            return False
        if check.of_questions:
            return bool(request.refusals)
        return check.of_tasks and bool(request.tasks) and is_images(request.tasks[0]) == (name in IMAGE_CHECKS)
