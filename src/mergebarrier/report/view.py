"""From a result and its rows to what every format shows: words and positions, no layout.

All text that came from outside is cleaned here once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mergebarrier.errors import clean
from mergebarrier.progress import counted
from mergebarrier.report import wording
from mergebarrier.report.heat import Heat, heat, skill
from mergebarrier.results import Alone, Cell, Control, LevelResult, Measurement, Result, thresholds


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A level of the ladder, in words."""

    level: str
    name: str
    attack: str
    needs: str
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


@dataclass(frozen=True, kw_only=True)
class ControlCheck:
    """A control, in words."""

    name: str
    passed: bool
    figure: str
    says: str


@dataclass(frozen=True, kw_only=True)
class ReportView:
    """Everything a format needs."""

    result: Result
    title: str
    protection: str
    method: str
    naive: str
    naive_figure: str
    attacker: str
    attacker_figure: str
    attack: str
    kept_figure: str
    price: str
    price_figure: str
    price_unit: str
    grade_sentence: str
    alarm: str
    alone: str
    heat: Heat
    rungs: tuple[Rung, ...]
    standalone: tuple[tuple[str, str, str], ...]
    trained: tuple[tuple[str, str, str, str], ...]
    closeness: tuple[tuple[str, str, str, str], ...]
    recovered: tuple[tuple[str, str, str, str], ...]
    references: tuple[tuple[str, str, str, str], ...]
    checks: tuple[ControlCheck, ...]
    facts: tuple[tuple[str, str], ...]
    command: str
    models: tuple[tuple[str, str, str, str], ...]
    notes: tuple[str, ...]
    promise: tuple[str, ...]
    limits: tuple[str, ...]


def view(result: Result, rows: Sequence[Cell | Measurement]) -> ReportView:
    """Lay out a result and its rows (only test cells are shown)."""
    cells = [row for row in rows if isinstance(row, Cell) and row.split == "test"]
    top = wording.best_attack(result)
    return ReportView(
        result=result,
        title=clean(result.models["protected"].name) if "protected" in result.models else "protected model",
        protection=clean(result.method),
        method=_method(result),
        naive=wording.naive_sentence(result),
        naive_figure=wording.pct(result.levels[0].ruf),
        attacker=wording.attacker_sentence(result),
        attacker_figure=wording.pct(top.ruf),
        attack=clean(top.attack),
        kept_figure=wording.kept_figure(result),
        price=wording.price_sentence(result),
        price_figure=wording.price_figure(result),
        price_unit=wording.price_unit(result),
        grade_sentence=wording.grade_sentence(result),
        alarm=wording.alarm(result.controls),
        alone=wording.alone_sentence(result),
        heat=heat(cells, result),
        rungs=tuple([_rung(level, True) for level in result.levels] + [_rung(level, False) for level in result.extras]),
        standalone=_standalone(result),
        trained=tuple(
            (clean(row.says), _figure(row.plain), _figure(row.protected), _figure(row.control))
            for row in result.trained
        ),
        closeness=_closeness(result),
        recovered=tuple(_recovered(level) for level in (*result.levels, *result.extras) if level.recovered),
        references=tuple(
            (clean(name), skill(ref.skill_protected), skill(ref.skill_partner), f"{ref.utility:.2f}")
            for name, ref in result.references.items()
        ),
        checks=tuple(_check(name, control) for name, control in result.controls.items()),
        facts=_facts(result),
        command=wording.command(result.command),
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


def _rung(level: LevelResult, graded: bool) -> Rung:
    ours, theirs = level.best, level.best_unprotected
    return Rung(
        level=str(level.level),
        name=clean(level.name),
        attack=clean(level.attack),
        needs=clean(level.needs),
        merge=wording.merge_name(ours.merge),
        setting=wording.setting(ours.coefficients),
        ours=f"{ours.skill_protected:.2f}",
        theirs=f"{ours.skill_partner:.2f}",
        ruf=min(1.0, max(0.0, level.ruf)),
        ruf_text=f"{level.ruf:.2f}",
        interval=f"{level.ruf_low:.2f} to {level.ruf_high:.2f}",
        unprotected=f"{theirs.skill_protected:.2f} / {theirs.skill_partner:.2f}",
        cost=wording.cost(level),
        short_cost=wording.short_cost(level),
        graded=graded,
        broken=level.ruf >= thresholds.BROKEN_AT,
    )


def _standalone(result: Result) -> tuple[tuple[str, str, str], ...]:
    ours, theirs = result.standalone.original, result.standalone.protected
    return (
        ("skill on its own task", _alone(ours), _alone(theirs)),
        ("perplexity on plain text", _perplexity(ours), _perplexity(theirs)),
    )


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _alone(alone: Alone) -> str:
    return f"{alone.skill:.2f} [{alone.low:.2f}, {alone.high:.2f}] of {alone.items}"


def _perplexity(alone: Alone) -> str:
    return "not measured" if alone.perplexity is None else f"{alone.perplexity:.3f}"


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


def _recovered(level: LevelResult) -> tuple[str, str, str, str]:
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


def _check(name: str, control: Control) -> ControlCheck:
    return ControlCheck(
        name=clean(name).replace("_", " "),
        passed=control.passed,
        figure=f"{control.figure:.3g}, {'at most' if control.relation == '<=' else 'at least'} {control.bound:.3g}",
        says=clean(control.says),
    )


def _facts(result: Result) -> tuple[tuple[str, str], ...]:
    tasks = [
        (
            f"task of the {clean(role)}",
            f"{clean(task.name)}: {counted(task.test_items, task.test_distinct, 'test rows')}; "
            f"{counted(task.validation_items, task.validation_distinct, 'validation rows')}",
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
