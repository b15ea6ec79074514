"""Who does which task when: order, refusals, workers that are lost; with workers that only write down what they do."""

from collections.abc import Callable

import pytest

from mergebarrier.audit import PlannedTask
from mergebarrier.engines import ATTEMPTS, perform_all
from mergebarrier.errors import WorkerLost

TASKS = tuple(
    PlannedTask(index=index, kind="grid", of=f"state {index}", needs=needs, stage=len(needs))
    for index, needs in enumerate([(), (), (0,), (0, 1), ()])
)


class Clerk:
    """A worker that notes its tasks, refuses some, and is lost at others."""

    name = "clerk"

    def __init__(self, notes: list[int], lost: list[int], refused: tuple[int, ...] = ()) -> None:
        self._notes, self._lost, self._refused = notes, lost, refused

    def perform(self, index: int) -> str | None:
        if index in self._lost:
            self._lost.remove(index)
            raise WorkerLost("the clerk left", where=index, remedy="none")
        self._notes.append(index)
        return "no" if index in self._refused else None

    def close(self) -> None:
        self._notes.append(-1)


def done_by(hire: Callable[[int], Clerk], n: int, *, finished: tuple[int, ...] = ()) -> list[str]:
    said: list[str] = []
    perform_all(TASKS, finished, hire, n, said.append)
    return said


@pytest.mark.parametrize("n", [1, 2, 5])
def test_every_task_is_done_once_after_those_that_it_needs_and_every_worker_is_ended(n: int) -> None:
    notes: list[int] = []
    done_by(lambda number: Clerk(notes, []), n)
    tasks = [index for index in notes if index >= 0]
    assert sorted(tasks) == [0, 1, 2, 3, 4] and 1 <= notes.count(-1) <= n
    assert tasks.index(2) > tasks.index(0) and tasks.index(3) > max(tasks.index(0), tasks.index(1))


def test_a_finished_task_is_not_done_again_and_what_needs_a_refused_one_is_left() -> None:
    notes: list[int] = []
    said = done_by(lambda number: Clerk(notes, [], refused=(0,)), 1, finished=(4,))
    assert notes == [0, 1, -1]
    assert "left to the audit (no)" in said[0]


def test_the_task_of_a_lost_worker_is_given_to_another() -> None:
    notes: list[int] = []
    lost = [2] * (ATTEMPTS - 1)
    said = done_by(lambda number: Clerk(notes, lost), 1)
    assert sorted(index for index in notes if index >= 0) == [0, 1, 2, 3, 4] and not lost
    assert said.count("the clerk left; task 2 (grid state 2) is given to another") == ATTEMPTS - 1


def test_a_task_that_loses_every_worker_ends_the_work() -> None:
    lost = [3] * ATTEMPTS
    with pytest.raises(WorkerLost, match="the clerk left"):
        done_by(lambda number: Clerk([], lost), 2)


def test_a_worker_that_cannot_start_ends_the_work() -> None:
    def hire(number: int) -> Clerk:
        raise WorkerLost("no clerk is to be had", where="here", remedy="none")

    with pytest.raises(WorkerLost, match="no clerk"):
        done_by(hire, 2)
