"""What a level of the ladder is: an attack that declares everything that an audit and its report need to know.

    level = what it needs + the model that it makes (or none) + the merges that it tries + the checks that belong to it

A level is one file that builds one ``Level``, and one line of the registry; help, plan, rows, result, grade and report
follow from the declaration.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mergebarrier.audit.bench import AuditSpec, Bench, MergeSetting, searched
from mergebarrier.audit.ladder.tuner import Tuner
from mergebarrier.results import Cell, Control, LevelResult, Scales, Standalone, State


@dataclass(frozen=True, kw_only=True)
class LevelContext:
    """What every level is measured against: both scales, and the utility of the best single model."""

    scales: Scales
    trivial: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """Cells of one state: at published settings, tried in a search on validation rows, chosen by it."""

    published: Sequence[Cell]
    trials: Sequence[Cell] = ()
    chosen: Sequence[Cell] = ()

    @property
    def test(self) -> list[Cell]:
        """All cells on test rows."""
        return [*self.published, *self.chosen]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the checks of a level may look at, when everything else has been measured.

    Args:
      bench, context: of the audit.
      unprotected:    the control at the published settings.
      standalone:     the protected model by itself.
      level:          what came of the level that the check belongs to.
    """

    bench: Bench
    context: LevelContext
    unprotected: Found
    standalone: Standalone
    level: LevelResult


#: A check of the audit itself; None where it does not apply to this audit.
Check: TypeAlias = Callable[[Evidence], Control | None]


def published_settings(bench: Bench, context: LevelContext) -> Sequence[MergeSetting]:
    """Return the grid of the audit."""
    return bench.spec.settings


def searched_settings(spec: AuditSpec) -> Sequence[MergeSetting]:
    """Return what the search over two coefficients tries."""
    return searched(spec.search_budget)


def free(bench: Bench) -> int:
    """Return what doing nothing before the merge costs."""
    return 0


def asked_always(spec: AuditSpec) -> bool:
    """Say that the level is run wherever its number is."""
    return True


def no_realignment(spec: AuditSpec) -> int:
    """Return how many models are realigned: none."""
    return 0


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level, or an attack that is shown with the levels and not graded.

    Args:
      number:             its place; ``results.thresholds.LETTERS`` grades a protection that falls there.
      name:               in a word.
      attack:             what is done, in a few words.
      word:               the attack as its cells call it.
      needs:              what the attacker must hold for it, such that "anyone with ..." is a sentence.
      state:              the model in the protected expert's place, as its cells call it.
      states:             state -> what a report calls it, for every state that this level brings.
      prepare:            opens the model that the attacker makes under the name ``state`` and returns the seconds that
                          making it took; None where the published model is merged as it is.
      begins_with:        the state whose model ``prepare`` starts from, opened by itself; "" for the published one.
      preserves_function: the prepared model computes what the protected one does.
      settings:           the merges that are tried and reported on test rows.
      searches:           settings are searched as well, where level 1 is run.
      search:             what that search tries.
      tuners:             searches over single parts that go on from the best of these settings; from the base where
                          none is searched.
      own_ceiling:        the unprotected model gets the same tuners; else it is compared as the stock merges leave it.
      cost:               estimated arithmetic before any merge, in FLOP.
      reads:              estimated tokens that are read before any merge.
      realignments:       models that it realigns, for the plan of an audit.
      asked:              whether an audit that runs this number runs it.
      gradients:          the attacker takes gradients; else it sees answers only.
      on_request:         an audit runs it only where its number is asked for.
      checks:             name -> check of the audit itself; a name is unique on the whole ladder.
    """

    number: int
    name: str
    attack: str
    word: str
    needs: str
    state: str
    states: Mapping[str, State] = field(default_factory=dict)
    prepare: Callable[[Bench], float] | None = None
    begins_with: str = ""
    preserves_function: bool = False
    settings: Callable[[Bench, LevelContext], Sequence[MergeSetting]] = published_settings
    searches: bool = False
    search: Callable[[AuditSpec], Sequence[MergeSetting]] = searched_settings
    tuners: Sequence[Tuner] = ()
    own_ceiling: bool = True
    cost: Callable[[Bench], int] = free
    reads: Callable[[Bench], int] = free
    realignments: Callable[[AuditSpec], int] = no_realignment
    asked: Callable[[AuditSpec], bool] = asked_always
    gradients: bool = False
    on_request: bool = False
    checks: Mapping[str, Check] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one level tried.

    Args:
      level:                 its declaration.
      attacked, unprotected: cells on the test rows.
      trials:                cells on validation rows, the cost of a searched setting.
      seconds, flops, tokens: cost before any merge.
    """

    level: Level
    attacked: Sequence[Cell]
    unprotected: Sequence[Cell]
    trials: Sequence[Cell] = ()
    seconds: float = 0.0
    flops: int = 0
    tokens: int = 0


def at_most(figure: float, bound: float, says: str) -> Control:
    """Return a control that holds up to a bound."""
    return Control(passed=figure <= bound, figure=figure, relation="<=", bound=bound, says=says)


def at_least(figure: float, bound: float, says: str) -> Control:
    """Return a control that holds from a bound on."""
    return Control(passed=figure >= bound, figure=figure, relation=">=", bound=bound, says=says)
