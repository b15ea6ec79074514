"""Kill the worker of a plan again and again, and see that no row that was finished is measured anew.

    python plan_kill_lab.py PLAN COUNT SEED

Each kill comes before a random one of the next few writes; the worker that follows goes on with the rest.  Prints how
many workers were killed.  The plan is finished when this ends.
"""

import os
import random
import signal
import sys
from pathlib import Path

from killing import finish, killed_before
from mergebarrier.engines import Performer


def work(plan: Path) -> None:
    """Do all tasks of a plan, one after the other."""
    with Performer(plan) as performer:
        for task in performer.plan.tasks:
            if not performer.finished(task.index):
                performer.perform(task.index)


def lines(plan: Path) -> dict[str, bytes]:
    """The rows of every task, as they stand on the disk."""
    return {path.name: path.read_bytes() for path in (plan.parent / "tasks").glob("*.jsonl")}


def main(plan: Path, count: int, rng: random.Random) -> int:
    kills, kept = 0, lines(plan)
    for _ in range(count):
        status = killed_before(rng.randrange(1, 5), lambda: work(plan))
        now = lines(plan)
        # With its seconds in it, a row that was measured again would be another line.
        changed = [name for name, before in kept.items() if not now[name].startswith(before[: before.rfind(b"\n") + 1])]
        assert not changed, changed
        kills, kept = kills + (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL), now
    finish(lambda: work(plan))
    return kills


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))))
