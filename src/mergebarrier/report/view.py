"""From a result and its rows to what every format shows: words and positions, no layout.

The heat table has a row per merge and published coefficient, one more per merge for the setting that a search chose,
and a column per state of the model.  All text that came from outside is cleaned here once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mergebarrier.errors import clean
from mergebarrier.report import wording
from mergebarrier.results import Alone, Cell, Control, Level, Measurement, Result, Skill, scales_of, thresholds


@dataclass(frozen=True)
class Column:
    """A state of the model in the merge."""

    title: str
    hint: str


@dataclass(frozen=True)
class Pair:
    """One cell for people: both skills, a tint of 0 (nothing) to 10 (everything) each, and the details."""

    ours: str
    theirs: str
    ours_tint: int
    theirs_tint: int
    both_tint: int
    setting: str
    detail: str


@dataclass(frozen=True)
class Line:
    """A row of the heat table."""

    label: str
    pairs: tuple[Pair | None, ...]


@dataclass(frozen=True)
class Group:
    """The rows of one merge algorithm."""

    merge: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Rung:
    """A level of the ladder, in words."""

    level: str
    name: str
    attack: str
    merge: str
    setting: str
    ours: str
    theirs: str
    ruf: float
    ruf_text: str
    interval: str
    unprotected: str
    cost: str
    short_cost: str
    graded: bool
    broken: bool


@dataclass(frozen=True)
class Check:
    """A control, in words."""

    name: str
    passed: bool
    figure: str
    says: str


@dataclass(frozen=True)
class View:
    """Everything a format needs."""

    result: Result
    title: str
    method: str
    naive: str
    naive_figure: str
    attacker: str
    attacker_figure: str
    attack: str
    grade_sentence: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    rungs: tuple[Rung, ...]
    standalone: tuple[tuple[str, str, str], ...]
    closeness: tuple[tuple[str, str, str, str], ...]
    recovered: tuple[tuple[str, str, str, str], ...]
    references: tuple[tuple[str, str, str, str], ...]
    checks: tuple[Check, ...]
    facts: tuple[tuple[str, str], ...]
    models: tuple[tuple[str, str, str, str], ...]
    notes: tuple[str, ...]
    promise: tuple[str, ...]
    limits: tuple[str, ...]


def view(result: Result, rows: Sequence[Cell | Measurement]) -> View:
    """Lay out a result and its rows (only test cells are shown)."""
    cells = [row for row in rows if isinstance(row, Cell) and row.split == "test"]
    states = wording.order([cell.state for cell in cells])
    top = wording.best_attack(result)
    return View(
        result=result,
        title=clean(result.models["protected"].name) if "protected" in result.models else "protected model",
        method=_method(result),
        naive=wording.naive_sentence(result),
        naive_figure=wording.pct(result.levels[0].ruf),
        attacker=wording.attacker_sentence(result),
        attacker_figure=wording.pct(top.ruf),
        attack=clean(top.attack),
        grade_sentence=wording.grade_sentence(result),
        columns=tuple(Column(*wording.STATES[state]) for state in states),
        groups=_groups(cells, states, result),
        rungs=tuple([_rung(level, True) for level in result.levels] + [_rung(level, False) for level in result.extras]),
        standalone=_standalone(result),
        closeness=_closeness(result),
        recovered=tuple(_recovered(level) for level in (*result.levels, *result.extras) if level.recovered),
        references=tuple(
            (clean(name), _skill(ref.skill_protected), _skill(ref.skill_partner), f"{ref.utility:.2f}")
            for name, ref in result.references.items()
        ),
        checks=tuple(_check(name, control) for name, control in result.controls.items()),
        facts=_facts(result),
        models=tuple(
            (clean(role), clean(model.name), clean(model.licence), clean(model.content_digest))
            for role, model in result.models.items()
        ),
        notes=tuple(clean(note) for note in result.notes),
        promise=wording.promise(result),
        limits=wording.limits(result),
    )


def _method(result: Result) -> str:
    parameters = {("over" if name == "only" else name): value for name, value in result.method_parameters.items()}
    shown = "; ".join(f"{clean(name)}: {clean(value)}" for name, value in parameters.items())
    return clean(result.method) + (f" ({shown})" if shown else "")


def _groups(cells: Sequence[Cell], states: Sequence[str], result: Result) -> tuple[Group, ...]:
    merges = list(dict.fromkeys(cell.merge for cell in cells if cell.state in states))
    groups = []
    for merge in merges:
        here = [cell for cell in cells if cell.merge == merge]
        published: dict[tuple[str, str], Cell] = {
            (cell.state, wording.setting(cell.coefficients)): cell for cell in here if not _searched(cell)
        }
        labels = sorted({label for _, label in published}, key=_number)
        lines = [
            Line(label, tuple(_pair(published.get((state, label)), result, "") for state in states)) for label in labels
        ]
        searched = [cell for cell in here if _searched(cell)]
        if searched:
            best = [_best([cell for cell in searched if cell.state == state], result) for state in states]
            pairs = tuple(_pair(cell, result, wording.setting(cell.coefficients) if cell else "") for cell in best)
            lines.append(Line("search", pairs))
        groups.append(Group(wording.merge_name(merge), tuple(lines)))
    return tuple(groups)


def _searched(cell: Cell) -> bool:
    return "coefficient" not in cell.coefficients


def _number(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label


def _best(cells: Sequence[Cell], result: Result) -> Cell | None:
    return max(cells, key=lambda cell: scales_of(result.references).of(cell), default=None)


def _pair(cell: Cell | None, result: Result, setting: str) -> Pair | None:
    if cell is None:
        return None
    ours, theirs = cell.skill_protected, cell.skill_partner
    utility = scales_of(result.references).of(cell)
    detail = (
        f"protected task {_skill(ours)}, partner task {_skill(theirs)}, utility {utility:.2f}, {cell.seconds:.0f} s"
    )
    return Pair(
        f"{ours.rate:.2f}", f"{theirs.rate:.2f}", _tint(ours.rate), _tint(theirs.rate), _tint(utility), setting, detail
    )


def _tint(share: float) -> int:
    return round(10 * min(1.0, max(0.0, share)))


def _skill(skill: Skill) -> str:
    return f"{skill.rate:.2f} [{skill.low:.2f}, {skill.high:.2f}] of {skill.total}"


def _rung(level: Level, graded: bool) -> Rung:
    return Rung(
        str(level.level),
        clean(level.name),
        clean(level.attack),
        wording.merge_name(level.best.merge),
        wording.setting(level.best.coefficients),
        f"{level.best.skill_protected:.2f}",
        f"{level.best.skill_partner:.2f}",
        min(1.0, max(0.0, level.ruf)),
        f"{level.ruf:.2f}",
        f"{level.ruf_low:.2f} to {level.ruf_high:.2f}",
        f"{level.best_unprotected.skill_protected:.2f} / {level.best_unprotected.skill_partner:.2f}",
        wording.cost(level),
        wording.short_cost(level),
        graded,
        level.ruf >= thresholds.BROKEN_AT,
    )


def _standalone(result: Result) -> tuple[tuple[str, str, str], ...]:
    ours, theirs = result.standalone.original, result.standalone.protected
    return (
        ("skill on its own task", _alone(ours), _alone(theirs)),
        ("perplexity on plain text", _perplexity(ours), _perplexity(theirs)),
    )


def _alone(alone: Alone) -> str:
    return f"{alone.skill:.2f} [{alone.low:.2f}, {alone.high:.2f}] of {alone.items}"


def _perplexity(alone: Alone) -> str:
    return "not finite" if alone.perplexity is None else f"{alone.perplexity:.3f}"


def _closeness(result: Result) -> tuple[tuple[str, str, str, str], ...]:
    one, two, floor = result.standalone, result.standalone.bfloat16, result.standalone.bfloat16_floor
    logit, kl, top1 = (
        [f"{side.max_rel_logit_error:.1e}" for side in (one, two, floor)],
        [f"{side.kl_nats:.1e}" for side in (one, two, floor)],
        [f"{100 * side.top1_agreement:.1f} %" for side in (one, two, floor)],
    )
    return (
        ("largest relative logit error", logit[0], logit[1], logit[2]),
        ("KL, nats per token", kl[0], kl[1], kl[2]),
        ("same most likely token", top1[0], top1[1], top1[2]),
    )


def _recovered(level: Level) -> tuple[str, str, str, str]:
    recovered = level.recovered
    assert recovered is not None
    far = recovered.closeness
    return (
        clean(level.attack),
        _alone(recovered.alone),
        _perplexity(recovered.alone),
        f"logits {far.max_rel_logit_error:.1e}, KL {far.kl_nats:.1e}"
        + ("" if recovered.preserves_function else " (does not keep the function)"),
    )


def _check(name: str, control: Control) -> Check:
    return Check(
        clean(name).replace("_", " "),
        control.passed,
        f"{control.figure:.3g}, {'at most' if control.relation == '<=' else 'at least'} {control.bound:.3g}",
        clean(control.says),
    )


def _facts(result: Result) -> tuple[tuple[str, str], ...]:
    tasks = [
        (
            f"task of the {clean(role)}",
            f"{clean(task.name)}: {task.test_items} test and {task.validation_items} validation rows",
        )
        for role, task in result.tasks.items()
    ]
    environment = [(clean(name), clean(value)) for name, value in result.environment.items()]
    return (
        ("protection", _method(result)),
        *tasks,
        ("seed", str(result.seed)),
        ("mergebarrier", clean(result.version)),
        *environment,
    )
