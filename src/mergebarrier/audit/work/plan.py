"""The plan of an audit: its work as tasks that any process on any machine can do, in a file that says all they need.

    plan = what is audited, with digests  +  tasks;      task = rows that belong together, after the tasks it needs

A row is named by a hash of everything that its figures depend on, so a task that is done twice, elsewhere or by half
gives the same rows.  What cannot be named before it is run (the checks, the comparisons) the audit does at its end.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from mergebarrier import __version__
from mergebarrier.audit.bench import AuditSpec, MergeSetting, searched
from mergebarrier.audit.ladder import LEVELS, Level, checked, published_settings, shown_beside
from mergebarrier.parameters import built
from mergebarrier.results import Record

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

Kind = Literal["single", "model", "grid", "trials", "curve", "outputs", "recovered", "search", "climb"]
SINGLE: Final = ("base", "original", "protected", "partner")
UNPROTECTED: Final = "unprotected"
#: Trials of a search in one task.
CHUNK: Final = 4
_MODELS: Final = (*SINGLE, "second", "twin", "wrong_base")
_ROWS: Final = ("task", "partner_task", "validation", "partner_validation")
_FILES: Final = (*_ROWS, "work", "text")


@dataclass(frozen=True, kw_only=True)
class PlannedTask(Record):
    """Rows that are measured together.

    Args:
      index: its place in the plan, from 0; every task that it needs has a lower one.
      kind:  what is done: score a single model, make an attacker's model, merge at published settings or at those of
             a search, walk a barrier curve, compare outputs, choose and tune settings, or climb a level as a whole.
      of:    the model or the state that it is done to.
      part:  which of its merges, trials or levels.
      needs: tasks that must be finished.
      stage: tasks of one stage need none of each other.
      rows:  names of its rows, as far as they are known before any attacker's model is made.
    """

    index: int
    kind: Kind
    of: str
    part: str = ""
    needs: tuple[int, ...] = ()
    stage: int = 0
    rows: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The task in a few words."""
        return " ".join(word for word in (self.kind, self.of, self.part) if word)


@dataclass(frozen=True, kw_only=True)
class WorkPlan(Record):
    """What every worker of an audit reads.

    Args:
      fields:  of the AuditSpec, as JSON can hold them; paths are absolute.
      inputs:  role -> content digest of the four models.
      files:   field -> digest of the rows or the text of a file.
      threads: of the numeric libraries in a worker: their number may change the last bit of a sum.
      tasks:   in an order in which one worker can do them.
      seal:    the name of the plan as it was written, to tell one that was changed by hand.
    """

    fields: dict[str, object]
    inputs: dict[str, str]
    files: dict[str, str]
    threads: int
    tasks: tuple[PlannedTask, ...]
    version: str = __version__
    schema_version: Literal[1] = 1
    kind: Literal["audit plan"] = "audit plan"
    seal: str = ""

    @property
    def name(self) -> str:
        """A hash of all of it but the seal."""
        from mergebarrier.checkpoint import canonical_json

        return hashlib.sha256(canonical_json(asdict(replace(self, seal="")))).hexdigest()

    @property
    def spec(self) -> AuditSpec:
        """What is audited."""
        return built(AuditSpec, {name: _value(name, value) for name, value in self.fields.items()})


@dataclass
class _Tasks:
    """Tasks as they are added."""

    found: list[PlannedTask] = field(default_factory=list)

    def add(self, kind: Kind, of: str, part: str = "", needs: Iterable[int] = ()) -> int:
        needs = tuple(sorted(set(needs)))
        stage = 1 + max((self.found[need].stage for need in needs), default=-1)
        task = PlannedTask(index=len(self.found), kind=kind, of=of, part=part, needs=needs, stage=stage)
        self.found.append(task)
        return task.index


def tasks_of(spec: AuditSpec) -> tuple[PlannedTask, ...]:
    """Cut an audit into tasks; UsageError for a level that is not built."""
    tasks = _Tasks()
    levels = [LEVELS[number] for number in checked(spec.levels)]
    singles = [tasks.add("single", role) for role in SINGLE]
    models: dict[str, int] = {}
    for level in (*levels, *shown_beside(spec)):
        if level.prepare is not None and level.state not in models:
            before = [models[level.begins_with]] if level.begins_with in models else ()
            models[level.state] = tasks.add("model", level.state, needs=before)
    made = {state: [index] for state, index in models.items()}
    gridded = [level for level in levels if level.settings is published_settings]
    states = tuple(dict.fromkeys((UNPROTECTED, *(level.state for level in gridded))))
    merges = tuple(dict.fromkeys(setting.merge for setting in spec.settings))
    grids = {s: [tasks.add("grid", s, merge, made.get(s, ())) for merge in merges] for s in states}
    searching = [level for level in gridded if level.searches and 1 in [one.number for one in levels]]
    starts = range(0, len(searched(spec.search_budget)), CHUNK)
    sides = tuple(dict.fromkeys((UNPROTECTED, *(level.state for level in searching)))) if searching else ()
    trials = {s: [tasks.add("trials", s, str(start), made.get(s, ())) for start in starts] for s in sides}
    attacked = tuple(dict.fromkeys(level.state for level in levels if level.prepare is not None))
    for state in ("original", "protected", *attacked):
        tasks.add("curve", state, needs=made.get(state, ()))
    tasks.add("outputs", "protected")
    for state in attacked:
        tasks.add("recovered", state, needs=made[state])
    last: dict[str, list[int]] = {}
    for level in searching:
        for side in (UNPROTECTED, level.state):
            needs = (*singles, *grids[side], *trials[side], *last.get(side, ()))
            last[side] = [tasks.add("search", side, str(level.number), needs)]
    whole = [level for level in (*levels, *shown_beside(spec)) if level.settings is not published_settings]
    for level in whole:
        needs = (*singles, *made.get(level.state, ()), *grids[UNPROTECTED], *last.get(UNPROTECTED, ()))
        tasks.add("climb", level.state, str(level.number), needs)
    return tuple(tasks.found)


def levels_of(spec: AuditSpec) -> tuple[Level, ...]:
    """Return the levels that an audit runs, and after them what it shows beside them."""
    return (*(LEVELS[number] for number in checked(spec.levels)), *shown_beside(spec))


def level_of(spec: AuditSpec, state: str, number: str = "") -> Level:
    """Return the first level of a state, or the one with a number, among those that an audit runs."""
    return next(level for level in levels_of(spec) if level.state == state and number in ("", str(level.number)))


def plan_of(
    spec: AuditSpec, tasks: Sequence[PlannedTask], checkpoints: "Mapping[str, Checkpoint]", threads: int
) -> WorkPlan:
    """Return the plan of an audit whose models are open."""
    values = {one.name: _plain(getattr(spec, one.name)) for one in fields(spec)}
    inputs = {role: checkpoints[role].content_digest(workers=spec.workers) for role in SINGLE}
    plan = WorkPlan(fields=values, inputs=inputs, files=file_digests(spec), threads=threads, tasks=tuple(tasks))
    return replace(plan, seal=plan.name)


def file_digests(spec: AuditSpec) -> dict[str, str]:
    """Return the digest of every file with rows or text, by its field; BadTask, BadText."""
    from mergebarrier.evaluate import read_task, read_text

    found = {name: read_task(path).digest for name in _ROWS if (path := getattr(spec, name)) is not None}
    if spec.text is not None:
        found["text"] = hashlib.sha256(read_text(spec.text).encode()).hexdigest()
    return found


def _plain(value: object) -> object:
    """Return a field as JSON can hold it."""
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, MergeSetting):
        return [value.merge, [list(pair) for pair in value.coefficients]]
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return _absolute(value if isinstance(value, Path) else Path(getattr(value, "path", str(value))))


def _absolute(path: Path) -> str:
    """Return a path, or each of the two that ``BASE+ADAPTER`` names, as every worker can open it."""
    parts = [str(path)] if path.exists() else str(path).split("+")
    return "+".join(map(os.path.abspath, parts))


def _value(name: str, value: object) -> object:
    """Return a field as the AuditSpec holds it."""
    if isinstance(value, str) and (name in _MODELS or name in _FILES):
        return Path(value)
    if not isinstance(value, list):
        return value
    if name in ("comparisons", "publics"):
        return tuple(map(Path, value))
    if name == "settings":
        return tuple(MergeSetting(merge, tuple((key, one) for key, one in pairs)) for merge, pairs in value)
    return tuple(value)
