"""Another protection of the same original, merged with coefficient 1, where the base cancels; shown, not graded.

It shows what the same merge does to a protection that leaves circuits untouched, compared with the one that is audited.
"""

from collections.abc import Sequence
from dataclasses import replace

from mergebarrier.audit.bench import Bench, MergeSetting
from mergebarrier.audit.ladder.level import Attempt, Level
from mergebarrier.results import Cell, State

COMPARISON = Level(
    number=0,
    name="comparison",
    attack="no attack at all, coefficient 1",
    word="none",
    needs="stock merge tools",
    state="other",
    states={"other": State(title="Another protection", note="beside the ladder", column=False)},
)


def compare(bench: Bench, role: str, name: str, unprotected: Sequence[Cell]) -> Attempt:
    """Merge the model of a role, whose protection is called ``name``; ``unprotected`` is the audit's own ceiling."""
    setting = MergeSetting("task_arithmetic", (("coefficient", 1.0),))
    level = replace(COMPARISON, name=name)
    ours = bench.cell(level.state, setting, "test", level=level.number, attack=level.word, role=role)
    return Attempt(level=level, attacked=[ours], unprotected=unprotected)
