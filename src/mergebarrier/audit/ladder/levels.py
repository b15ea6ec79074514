"""The ladder of attacks: each level is a function from a workbench to an attempt, and the registry is a literal dict.

    0  naive         the published settings, on the protected model
    1  coefficients  + a search over one coefficient per model, chosen on validation rows, reported on test rows
    2  realign       gauge fixing against the public base, then levels 0 and 1 on what it recovers

Every attempt is compared with the unprotected model under the same settings and the same search.  The best published
setting is taken on the test rows, for attacked and unprotected alike; a searched one on validation rows only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mergebarrier.audit.bench import Bench, MergeSetting, as_best, cost, realigned, recovery, searched
from mergebarrier.results import Cell, Level, Recovered, Scales, State


@dataclass(frozen=True)
class Context:
    """What every level is measured against."""

    scales: Scales
    trivial: float


@dataclass(frozen=True)
class Attempt:
    """What one level tried.

    Args:
      attacked, unprotected: cells on the test rows.
      trials:                cells on validation rows, the cost of a searched setting.
      seconds, flops:        cost before any merge.
      role:                  the model that the attacker holds afterwards.
    """

    level: int
    name: str
    attack: str
    attacked: Sequence[Cell]
    unprotected: Sequence[Cell]
    trials: Sequence[Cell] = ()
    seconds: float = 0.0
    flops: int = 0
    role: str = ""


@dataclass(frozen=True)
class Found:
    """Cells of one state: at published settings, tried in the search, chosen by it."""

    published: Sequence[Cell]
    trials: Sequence[Cell] = ()
    chosen: Sequence[Cell] = field(default_factory=tuple)

    @property
    def test(self) -> list[Cell]:
        """All cells on test rows."""
        return [*self.published, *self.chosen]


def control(bench: Bench, context: Context, *, search: bool) -> Found:
    """Merge the unprotected model: the positive control of everything else."""
    return _tried(bench, context, "unprotected", 0, "control", role="original", search=search)


def naive(bench: Bench, context: Context) -> Attempt:
    """Merge the protected model as it was published, at the published settings."""
    ours = _tried(bench, context, "protected", 0, "none", search=False)
    return Attempt(0, "naive", "stock merging", ours.test, control(bench, context, search=False).test)


def coefficients(bench: Bench, context: Context) -> Attempt:
    """Search one coefficient per model."""
    ours = _tried(bench, context, "protected", 1, "coefficients", search=True)
    theirs = control(bench, context, search=True)
    return Attempt(1, "coefficients", "coefficient search", ours.test, theirs.test, ours.trials)


def realign(bench: Bench, context: Context) -> Attempt:
    """Undo the gauge against the base, then merge and search as below."""
    from mergebarrier.arch import describe
    from mergebarrier.realign import GaugeFix

    seconds = realigned(bench, "protected", "gaugefix", GaugeFix(), "gaugefix")
    search = 1 in bench.spec.levels
    ours = _tried(bench, context, "gaugefix", 2, "gaugefix", search=search)
    theirs = control(bench, context, search=search)
    flops = cost.realign_flops(describe(bench.checkpoints["base"]).dims, bench.n_weights)
    return Attempt(2, "realign", "gaugefix", ours.test, theirs.test, ours.trials, seconds, flops, "gaugefix")


#: The levels that are built; ``spec.NOT_BUILT`` names the others.
LEVELS: Final[dict[int, Callable[[Bench, Context], Attempt]]] = {0: naive, 1: coefficients, 2: realign}


def published_attack(bench: Bench, context: Context) -> Attempt:
    """Try the published, decoupled attack at the settings that work best without a protection; shown, not graded."""
    from mergebarrier.arch import describe
    from mergebarrier.realign import Aga

    seconds = realigned(bench, "protected", "aga", Aga(matched=True), "aga")
    theirs = control(bench, context, search=False)
    best: dict[str, Cell] = {}
    for cell in sorted(theirs.published, key=lambda cell: -context.scales.of(cell)):
        best.setdefault(cell.merge, cell)
    settings = [
        MergeSetting(cell.merge, tuple(cell.coefficients.items()))
        for cell in list(best.values())[: bench.spec.aga_settings]
    ]
    cells = [bench.cell("aga", setting, "test", level=2, attack="aga") for setting in settings]
    flops = cost.realign_flops(describe(bench.checkpoints["base"]).dims, bench.n_weights)
    name = "published attack with our matching"
    return Attempt(2, "AGA", name, cells, theirs.published, (), seconds, flops, "aga")


def comparison(bench: Bench, context: Context, role: str, name: str) -> Attempt:
    """Merge another protection of the same original with coefficient 1, where the base cancels; shown, not graded."""
    setting = MergeSetting("task_arithmetic", (("coefficient", 1.0),))
    cells = [bench.cell("other", setting, "test", level=0, attack="none", role=role)]
    theirs = bench.cell("unprotected", setting, "test", level=0, attack="control", role="original")
    return Attempt(0, name, "no attack at all, coefficient 1", cells, [theirs])


def summary(attempt: Attempt, context: Context, n_weights: int, recovered: Recovered | None) -> Level:
    """Return what a report says about a level."""
    found = recovery(attempt.attacked, attempt.unprotected, context.scales, context.trivial)
    best = found.attacked
    # At level 1 the search is the attack; above it, it counts where its setting was the best.
    counts = attempt.level == 1 or "coefficient" not in best.coefficients
    trials = attempt.trials if counts else ()
    tokens = sum(trial.tokens for trial in trials)
    merges = (1 + len(trials)) * cost.merge_flops(n_weights)
    return Level(
        level=attempt.level,
        name=attempt.name,
        attack=attempt.attack,
        best=as_best(best, context.scales),
        best_unprotected=as_best(found.unprotected, context.scales),
        ruf=found.ruf,
        ruf_low=found.low,
        ruf_high=found.high,
        flops=attempt.flops + merges + cost.forward_flops(n_weights, tokens),
        tokens=tokens,
        seconds=attempt.seconds + best.merge_seconds + sum(trial.seconds for trial in trials),
        recovered=recovered,
    )


def _tried(
    bench: Bench, context: Context, state: State, level: int, attack: str, *, search: bool, role: str = ""
) -> Found:
    """Merge one state at the published settings and, if asked, at those that a search chooses."""
    at = 0 if state == "protected" else level
    name = "none" if state == "protected" else attack
    grid = [bench.cell(state, setting, "test", level=at, attack=name, role=role) for setting in bench.spec.settings]
    if not search:
        return Found(grid)
    settings = searched(bench.spec.search_budget)
    trials = [
        bench.cell(state, setting, "validation", level=max(1, level), attack=attack, role=role) for setting in settings
    ]
    best: dict[str, tuple[MergeSetting, Cell]] = {}
    for setting, trial in zip(settings, trials, strict=True):
        if setting.merge not in best or _order(trial, context) > _order(best[setting.merge][1], context):
            best[setting.merge] = (setting, trial)
    chosen = [
        bench.cell(state, setting, "test", level=max(1, level), attack=attack, role=role)
        for setting, _ in best.values()
    ]
    return Found(grid, trials, chosen)


def _order(cell: Cell, context: Context) -> tuple[float, float]:
    """Order trials by utility; where it is flat (both skills broken), by the loss, which is smooth."""
    return context.scales.of(cell), -(cell.nll_nats if cell.nll_nats is not None else float("inf"))
