"""The engines of an audit: who measures the rows of a plan before the audit itself puts them together.

    serial     nobody: the audit measures row after row
    process    several processes of this machine
    ray        actors of Ray, here or on a cluster that shares the report folder

Every engine leaves rows in the folder of the plan, and the audit finds them by name; so all give the same report.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from mergebarrier.audit import AuditSpec, make_plan
from mergebarrier.engines.crew import Hand, perform_all
from mergebarrier.engines.plan_file import read_plan, write_plan
from mergebarrier.engines.process import ProcessHand
from mergebarrier.engines.ray_cluster import RayHand, cluster
from mergebarrier.engines.rows import TASKS, done_file

PLAN: Final = "plan.json"
Hire: TypeAlias = Callable[[int], Hand]


def prepared(spec: AuditSpec, threads: int) -> Path:
    """Write the plan of an audit into its work folder, and return its file."""
    path = spec.work / PLAN
    (spec.work / TASKS).mkdir(parents=True, exist_ok=True)
    write_plan(make_plan(spec, threads), path)
    return path


def performed(path: Path, engine: str, workers: int, say: Callable[[str], None]) -> None:
    """Do what a plan holds and is not finished.

    Args:
      path:    the plan.
      engine:  "process" or "ray".
      workers: at once.
      say:     called with one line per finished task.
    Raises: WorkerLost when a task has lost three workers; MissingExtra, UsageError for Ray.
    """
    plan = read_plan(path)
    finished = [task.index for task in plan.tasks if done_file(path.parent, plan.name, task.index).exists()]
    with _ENGINES[engine](path, workers, plan.threads) as hire:
        perform_all(plan.tasks, finished, hire, workers, say)


@contextmanager
def _process(path: Path, workers: int, threads: int) -> Iterator[Hire]:
    yield lambda number: ProcessHand(path, threads)


@contextmanager
def _ray(path: Path, workers: int, threads: int) -> Iterator[Hire]:
    with cluster(workers, threads):
        yield lambda number: RayHand(path, threads)


_ENGINES: Final = {"process": _process, "ray": _ray}
