"""Run one level: make the attacker's model, merge it at every setting, compare with the unprotected model.

The best published setting is taken on the test rows, for attacked and unprotected alike; a searched one is chosen on
validation rows and reported on test rows.  Every attempt is compared with the unprotected model under the same settings
and the same search.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mergebarrier.audit.bench import Bench, Candidate, MergeSetting, Pair, as_best, cost, recovery
from mergebarrier.audit.ladder.forecast import part_of, tuned
from mergebarrier.audit.ladder.level import Attempt, Found, Level, LevelContext
from mergebarrier.audit.ladder.tuner import Tuner
from mergebarrier.audit.metrics import hypervolume, skills
from mergebarrier.results import AttackCost, Cell, LevelResult, Recovered, Split, thresholds

_UNPROTECTED = "unprotected"
#: Level and attack of a cell that merges the protected model as it is, at a published setting: no attack at all.
_NO_ATTACK = (0, "none")
#: The merge whose two coefficients are those of every part, where the searches over parts begin.
_STRAIGHT = "task_arithmetic"
#: Where they begin at a level that searches no two coefficients: the base.
_NOWHERE = {"protected": 0.0, "partner": 0.0}


@dataclass(frozen=True, kw_only=True)
class CellPlace:
    """Which model is merged, and how its cells are called: (level, attack) at published and at searched settings."""

    state: str
    role: str
    published: tuple[int, str]
    searched: tuple[int, str]

    def as_published(self, bench: Bench, setting: MergeSetting) -> Cell:
        """Merge at a published setting and score on test rows."""
        level, attack = self.published
        return bench.cell(self.state, setting, "test", level=level, attack=attack, role=self.role)

    def as_searched(self, bench: Bench, setting: MergeSetting, split: Split) -> Cell:
        """Merge at a setting that a search tries (validation rows) or chose (test rows)."""
        level, attack = self.searched
        return bench.cell(self.state, setting, split, level=level, attack=attack, role=self.role)


#: The unprotected model: the positive control of everything else.
CONTROL = CellPlace(state=_UNPROTECTED, role="original", published=(0, "control"), searched=(1, "control"))


def place_of(level: Level) -> CellPlace:
    """Return where the cells of a level belong."""
    mine = (level.number, level.word)
    published = _NO_ATTACK if level.prepare is None else mine
    return CellPlace(state=level.state, role=level.state, published=published, searched=mine)


def control(bench: Bench, context: LevelContext, level: Level | None = None) -> Found:
    """Merge the unprotected model, with the searches of a level."""
    return tried(bench, context, CONTROL, bench.spec.settings, level)


def climb(level: Level, bench: Bench, context: LevelContext) -> Attempt:
    """Run one level, without the searches over parts that no budget is left for."""
    bench.meter.begin(part_of(level))
    kept = [one for one in level.tuners if bench.meter.afford(part_of(level, one), tuned(bench, level, one))]
    level = replace(level, tuners=kept)
    seconds = 0.0 if level.prepare is None else level.prepare(bench)
    ours = tried(bench, context, place_of(level), level.settings(bench, context), level)
    theirs = control(bench, context, level if level.own_ceiling else None)
    return Attempt(
        level=level,
        attacked=ours.test,
        unprotected=theirs.test,
        trials=ours.trials,
        seconds=seconds,
        flops=level.cost(bench),
        tokens=level.reads(bench),
    )


def summary(attempt: Attempt, context: LevelContext, n_weights: int, recovered: Recovered | None) -> LevelResult:
    """Return what a report says about a level."""
    found = recovery(attempt.attacked, attempt.unprotected, context.scales, context.trivial)
    level, spent = attempt.level, _cost(attempt, found.attacked, n_weights)
    breaking = [
        _cost(attempt, cell, n_weights)
        for cell in attempt.attacked
        if recovery([cell], attempt.unprotected, context.scales, context.trivial).ruf >= thresholds.BROKEN_AT
    ]
    return LevelResult(
        level=level.number,
        name=level.name,
        attack=level.attack,
        needs=level.needs,
        state=level.state,
        best=as_best(found.attacked, context.scales),
        best_unprotected=as_best(found.unprotected, context.scales),
        ruf=found.ruf,
        ruf_low=found.low,
        ruf_high=found.high,
        flops=spent.flops,
        tokens=spent.tokens,
        seconds=spent.seconds,
        recovered=recovered,
        attacker="gradients" if level.gradients else "answers",
        hypervolume=hypervolume(skills(attempt.attacked, context.scales)),
        breaking=min(breaking, key=lambda one: one.flops, default=None),
    )


def _cost(attempt: Attempt, cell: Cell, n_weights: int) -> AttackCost:
    """Return what one merge of a level took, with the search that chose its setting."""
    # At level 1 the search is the attack; above it, it counts where it chose the setting.
    counts = attempt.level.number == 1 or "coefficient" not in cell.coefficients
    trials = attempt.trials if counts else ()
    tuned = {name: _whole(cell.parameters.get(name, 0)) for name in ("tokens_read", "tokens_learned")}
    tokens = sum(trial.tokens for trial in trials) + tuned["tokens_read"]
    merges = (1 + len(trials)) * cost.merge_flops(n_weights)
    passes = cost.forward_flops(n_weights, tokens) + cost.learning_flops(n_weights, tuned["tokens_learned"])
    return AttackCost(
        flops=attempt.flops + merges + passes,
        tokens=attempt.tokens + tokens + tuned["tokens_learned"],
        seconds=attempt.seconds + cell.merge_seconds + sum(trial.seconds for trial in trials),
    )


def tried(
    bench: Bench, context: LevelContext, place: CellPlace, grid: Sequence[MergeSetting], level: Level | None
) -> Found:
    """Merge one state at the given settings and, where the level searches, at those that its searches choose."""
    published = [place.as_published(bench, setting) for setting in grid]
    if level is None or 1 not in bench.spec.levels:
        return Found(published=published)
    settings = level.search(bench.spec) if level.searches else ()
    trials = [place.as_searched(bench, setting, "validation") for setting in settings]
    best: dict[str, tuple[MergeSetting, Cell]] = {}
    for setting, trial in zip(settings, trials, strict=True):
        if setting.merge not in best or _order(trial, context) > _order(best[setting.merge][1], context):
            best[setting.merge] = (setting, trial)
    chosen = [place.as_searched(bench, setting, "test") for setting, _ in best.values()]
    start = dict(best[_STRAIGHT][0].coefficients) if _STRAIGHT in best else _NOWHERE
    for tuner in level.tuners:
        if tuner.budget(bench.spec):
            bench.meter.begin(part_of(level, tuner))
            chosen.append(_tuned(bench, place, tuner, (start["protected"], start["partner"])))
    return Found(published=published, trials=trials, chosen=chosen)


def _tuned(bench: Bench, place: CellPlace, tuner: Tuner, start: Pair) -> Cell:
    """Go on from two coefficients to those of single parts."""
    number, word = place.searched
    where, budget = Candidate(state=place.state, role=place.role, level=number, attack=word), tuner.budget(bench.spec)
    asked = {"start": list(start), "budget": budget}
    return bench.mixed(where, tuner.name, asked, lambda blend: tuner.search(blend, bench, start, budget))


def _whole(figure: object) -> int:
    return figure if isinstance(figure, int) else 0


def _order(cell: Cell, context: LevelContext) -> tuple[float, float]:
    """Order trials by utility; where it is flat (both skills broken), by the loss, which is smooth."""
    return context.scales.of(cell), -(cell.nll_nats if cell.nll_nats is not None else float("inf"))
