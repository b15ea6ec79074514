"""A worker of a plan: it opens the models once and does task after task.

A task is done when its file says so; its rows are on the disk by then.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from mergebarrier.audit import SINGLE, Bench, PlannedTask, file_digests, pieces, states
from mergebarrier.engines.plan_file import AGAIN, read_plan
from mergebarrier.engines.rows import TaskJournal, done_file
from mergebarrier.errors import BadReport, UsageError

Say = Callable[[str], None]


class Performer:
    """Does tasks of a plan, one after the other; a context manager that closes the models.

    Args:
      path: of the plan; rows go to the folder around it.
      say:  called with one line per piece of work.
    Raises: BadReport for a plan that cannot be read, or whose models or files have changed since it was made.
    """

    def __init__(self, path: Path, say: Say = lambda line: None) -> None:
        """Open the models and read the tasks; nothing is computed."""
        self.plan, self._folder = read_plan(path), path.parent
        self._stack, self._journal = ExitStack(), TaskJournal(path.parent)
        self._bench = Bench(self.plan.spec, self._journal, say, self._stack, states=states())
        for role in SINGLE:
            if self._bench.digest(role) != self.plan.inputs[role]:
                raise BadReport(
                    f"{role} has other weights than when the plan was made",
                    where=path,
                    remedy=AGAIN,
                )
        for name, digest in file_digests(self.plan.spec).items():
            if digest != self.plan.files.get(name):
                raise BadReport(
                    f"the file of {name} has other rows than when the plan was made", where=path, remedy=AGAIN
                )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the models."""
        self._stack.close()

    def finished(self, index: int) -> bool:
        """Say whether a task is finished."""
        return done_file(self._folder, self.plan.name, index).exists()

    def task(self, index: int) -> PlannedTask:
        """Return a task of the plan; UsageError where it has none of that number."""
        if not 0 <= index < len(self.plan.tasks):
            raise UsageError(
                f"the plan has no task {index}", where="--task", remedy=f"give 0 to {len(self.plan.tasks) - 1}"
            )
        return self.plan.tasks[index]

    def perform(self, index: int) -> int:
        """Do a task, or the rest of it, and return how many rows it used.

        Raises: UsageError where it needs a task that is not finished; what an audit raises.
        """
        task = self.task(index)
        if missing := [need for need in task.needs if not self.finished(need)]:
            raise UsageError(
                f"task {index} ({task.label}) needs task {missing[0]}, which is not finished",
                where="--task",
                remedy="run the tasks of a lower stage first; the plan lists them",
            )
        self._journal.begin(index)
        for piece in pieces(self._bench, task):
            piece()
        done_file(self._folder, self.plan.name, index).touch()
        return len(self._journal.used)
