"""How much work every part of an audit is, from its settings and the rows of its tasks, before any of it is done.

    single models -> control -> level 0 .. -> what is shown beside them -> curves and outputs

A merge that two parts need is counted with the first; so are the searches on the unprotected model.
"""

from collections.abc import Sequence

from mergebarrier.audit.bench import TASKS, Bench, Work
from mergebarrier.audit.ladder.level import Level, published_settings
from mergebarrier.audit.ladder.tuner import Tuner
from mergebarrier.results import Split

SINGLES, CONTROL_PART, LAST = "single models", "control", "curves and outputs"


def part_of(level: Level, tuner: Tuner | None = None) -> str:
    """Return what a level is called as a part, or one of its searches over parts of models."""
    return f"Level {level.number} ({level.name})" + (f", {tuner.name}" if tuner is not None else "")


def forecast(bench: Bench, levels: Sequence[Level]) -> dict[str, Work]:
    """Return the work of every part, in their order; searches over parts of models are parts of their own."""
    spec, seen = bench.spec, set[tuple[str, str]]()
    made = {level.state for level in levels if level.prepare is not None}
    parts = {
        SINGLES: Work(read=4 * _tokens(bench, "test"), merges=4.0),
        CONTROL_PART: _cells(bench, len(spec.settings)),
    }
    for level in levels:
        parts[part_of(level)] = _level(bench, level, seen)
        for tuner in level.tuners:
            parts[part_of(level, tuner)] = tuned(bench, level, tuner) if _new(seen, level.state, tuner.name) else Work()
    share = min(1.0, spec.barrier_items / max(1, len(bench.rows(TASKS[0], "test"))))
    points = (2 + len(made)) * spec.points
    parts[LAST] = Work(
        evaluations=points,
        merges=points + 4.0 * (2 + len(made)),
        read=round(points * share * _tokens(bench, "test")) + 4 * spec.compare_tokens * (1 + len(made)),
    )
    return parts


def tuned(bench: Bench, level: Level, tuner: Tuner) -> Work:
    """Return the work of one search over parts, on the attacked and, where it is compared so, on the original model."""
    budget = tuner.budget(bench.spec)
    if not budget or 1 not in bench.spec.levels:
        return Work()
    rows = tuner.rows_learned(budget)
    each = Work(
        evaluations=1 + tuner.looks(budget),
        merges=2.0 + 0.3 * tuner.looks(budget) + tuner.passes(budget),
        read=tuner.looks(budget) * _tokens(bench, "validation") + _tokens(bench, "test"),
        learned=rows * _tokens(bench, "validation") // max(1, sum(len(bench.rows(t, "validation")) for t in TASKS)),
    )
    return each + each if level.own_ceiling else each


def _level(bench: Bench, level: Level, seen: set[tuple[str, str]]) -> Work:
    """Return the work of a level, less what those before it have done."""
    spec, total = bench.spec, Work()
    if level.prepare is not None and _new(seen, level.state, "model"):
        total += Work(models=1, learned=level.reads(bench))
    if _new(seen, level.state, "published"):
        total += _cells(bench, len(spec.settings) if level.settings is published_settings else spec.aga_settings)
    if 1 not in spec.levels:
        return total
    for state in (level.state, "unprotected") if level.own_ceiling else (level.state,):
        settings = level.search(spec) if level.searches else ()
        new = [one.merge for one in settings if _new(seen, state, f"search {one.label}")]
        total += _cells(bench, len(new), "validation") + _cells(bench, len(set(new)))
    return total


def _new(seen: set[tuple[str, str]], state: str, what: str) -> bool:
    known = (state, what) in seen
    seen.add((state, what))
    return not known


def _cells(bench: Bench, count: int, split: Split = "test") -> Work:
    return Work(evaluations=count, merges=count, read=count * _tokens(bench, split))


def _tokens(bench: Bench, split: Split) -> int:
    """Return the tokens of all rows of both tasks."""
    return sum(len(bench.rows(task, split)) * bench.live.mean_tokens(bench.rows(task, split)) for task in TASKS)
