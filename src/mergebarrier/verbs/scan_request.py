"""What ``scan`` is asked, and which of its checks on models that run can run at all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.evaluate import TASK_SUFFIX
from mergebarrier.merge import Merge
from mergebarrier.scan import CHECKS, IMAGE_CHECKS, Search
from mergebarrier.verbs.update_scan import UpdateScan


@dataclass(frozen=True)
class ScanRequest:
    """What is scanned and how hard.

    Args:
      models:    folders of models, of adapters, which are put on the base, or ``BASE+ADAPTER``; or opened models.
      base:      what they were fine-tuned from; None leaves out the checks that compare.
      tasks:     task files of images or of text, one per model in the order of the models, or none.
      merge:     how the models are going to be merged; None leaves out the checks on merges.
      checks:    names from ``scan.CHECKS``.
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
