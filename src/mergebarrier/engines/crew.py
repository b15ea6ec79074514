"""Workers that do the tasks of a plan side by side, and what happens when one of them is lost.

    ready  ->  given to an idle worker  ->  done | left to the audit itself | its worker is lost: given to another

Source: ours.  A task that is refused (a merge that does not work, a model that does not fit) is left: the audit meets
the same refusal at the same row and reports it; its rows until then are kept.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from mergebarrier.audit import PlannedTask
from mergebarrier.errors import WorkerLost

#: A task whose worker was lost so often is not given to another.
ATTEMPTS = 3


class Hand(Protocol):
    """One worker, wherever it runs."""

    @property
    def name(self) -> str:
        """What people call it."""

    def perform(self, index: int) -> str | None:
        """Do a task; return what refused it, None when it is done.

        Raises: WorkerLost when the worker is gone.
        """

    def close(self) -> None:
        """End the worker, whatever it does."""


class _Board:
    """Which tasks are ready, given out, and finished; any thread may ask."""

    def __init__(self, tasks: Sequence[PlannedTask], finished: Sequence[int]) -> None:
        self._open = [task for task in tasks if task.index not in finished]
        self._done, self._given = set(finished), set[int]()
        self._lost: dict[int, int] = {}
        self._changed = threading.Condition()
        self.stopped: BaseException | None = None

    def take(self) -> PlannedTask | None:
        """Wait for a task that is ready; None when nothing is left to do."""
        with self._changed:
            while self.stopped is None:
                ready = [task for task in self._open if self._done.issuperset(task.needs)]
                if ready:
                    self._open.remove(ready[0])
                    self._given.add(ready[0].index)
                    return ready[0]
                if not self._given:
                    return None
                self._changed.wait()
            return None

    def finish(self, task: PlannedTask, refused: str | None) -> None:
        """Take note of a task; one that was refused is never done, so what needs it is left too."""
        with self._changed:
            self._given.discard(task.index)
            if refused is None:
                self._done.add(task.index)
            self._changed.notify_all()

    def again(self, task: PlannedTask, lost: WorkerLost) -> None:
        """Give a task of a lost worker back, or stop when it has taken too many with it."""
        with self._changed:
            self._given.discard(task.index)
            self._lost[task.index] = self._lost.get(task.index, 0) + 1
            if self._lost[task.index] >= ATTEMPTS:
                self.stopped = lost
            self._open.insert(0, task)
            self._changed.notify_all()

    def stop(self, error: BaseException) -> None:
        """Give out nothing more."""
        with self._changed:
            self.stopped = self.stopped or error
            self._changed.notify_all()


def perform_all(
    tasks: Sequence[PlannedTask],
    finished: Sequence[int],
    hire: Callable[[int], Hand],
    n: int,
    say: Callable[[str], None],
) -> None:
    """Do all tasks with ``n`` workers.

    Args:
      tasks:    of a plan.
      finished: numbers of those that are.
      hire:     starts the worker of a number.
      n:        how many work at once.
      say:      called with one line per finished task and per lost worker.
    Raises: WorkerLost when a task has lost its worker three times; what a worker cannot start for.
    """
    board, hands = _Board(tasks, finished), dict[int, Hand]()

    def work(number: int) -> None:
        try:
            while (task := board.take()) is not None:
                hand = hands[number] = hands.get(number) or hire(number)
                try:
                    refused = hand.perform(task.index)
                except WorkerLost as lost:
                    say(f"{lost.what}; task {task.index} ({task.label}) is given to another")
                    _end(hands.pop(number))
                    board.again(task, lost)
                    continue
                board.finish(task, refused)
                left = "" if refused is None else f": left to the audit ({refused})"
                say(f"task {task.index} of {len(tasks)} ({task.label}) by {hand.name}{left}")
        except BaseException as error:
            board.stop(error)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(n)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException as error:
        board.stop(error)
        raise
    finally:
        for hand in list(hands.values()):
            _end(hand)
    if board.stopped is not None:
        raise board.stopped


def _end(hand: Hand) -> None:
    with suppress(OSError):
        hand.close()
