"""From skills to one letter: utility, recovered utility fraction (RUF), grade.

    a_m    = clip((score_m - base_m) / (expert_m - base_m), 0, 1)        refused when expert_m - base_m < 0.05
    U      = min over both tasks of a_m
    RUF    = clip((U_attacked - U_trivial) / (U_unprotected - U_trivial), 0, 1)
    grade  = D, C, B, A by the first level with RUF >= 0.9: 0-1, 2-3, 4-5, none of 0-5

U_trivial is the best single model under the same U, never the naive protected merge: otherwise the RUF would depend on
the defence.  U_unprotected comes from the same merge algorithm with the same search.  Where levels were not run, the
grade is the worst that they still allow, and it is marked as not final.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mergebarrier.audit.bench.spec import MergeSetting
from mergebarrier.errors import NotMeasurable
from mergebarrier.results import Best, Cell, Grade, Scale, Scales, Skill, thresholds


def scale(base: Skill, expert: Skill, *, task: str) -> Scale:
    """Make a task's scale.

    Raises: NotMeasurable when the expert is less than 5 points above the base: no merge could show anything then.
    """
    if expert.rate - base.rate < thresholds.MIN_EXPERT_GAIN:
        raise NotMeasurable(
            f"the expert scores {expert.rate:.2f} and the base {base.rate:.2f}; a skill needs at least "
            f"{thresholds.MIN_EXPERT_GAIN:.2f} between them",
            where=task,
            remedy="give a task that the expert was trained for",
        )
    return Scale(base=base.rate, expert=expert.rate)


def best_of(cells: Iterable[Cell], scales: Scales) -> Cell:
    """Return the cell of the highest utility; ties go to the higher sum of skills, then to the first.

    Raises: ValueError when there is no cell.
    """
    return max(cells, key=scales.rank)


def as_best(cell: Cell, scales: Scales) -> Best:
    """Return what a summary says about a cell."""
    return Best(
        merge=cell.merge,
        coefficients=dict(cell.coefficients),
        skill_protected=cell.skill_protected.rate,
        skill_partner=cell.skill_partner.rate,
        utility=scales.of(cell),
    )


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """The RUF of one level with the two cells that it compares."""

    ruf: float
    low: float
    high: float
    attacked: Cell
    unprotected: Cell


def check_measurable(unprotected: Sequence[Cell], scales: Scales, trivial: float) -> None:
    """Refuse an audit in which not even the unprotected merge works.

    Raises: NotMeasurable when U_unprotected - U_trivial < 0.1.
    """
    best = best_of(unprotected, scales)
    reached = scales.of(best)
    if reached - trivial < thresholds.MIN_MARGIN:
        setting = MergeSetting(best.merge, tuple(best.coefficients.items()))
        raise NotMeasurable(
            f"the best unprotected merge ({setting.label}) reaches a utility of {reached:.2f} and a single model alone "
            f"{trivial:.2f}; at least {thresholds.MIN_MARGIN:.1f} must lie between them, so nothing can be concluded",
            where="positive control",
            remedy="give a partner that merges well with the original, or other --merges and --coefficients (a "
            "--preset sets both: that of 2606.30360 is meant for more models, and may be too little of two)",
        )


def recovery(attacked: Sequence[Cell], unprotected: Sequence[Cell], scales: Scales, trivial: float) -> Recovery:
    """Compare the attacker's best merge with the unprotected best of the same algorithm.

    Args:
      attacked:    cells on the test rows, at least one.
      unprotected: the same of the unprotected model, from the same algorithms and the same search.
      scales:      what skills of 0 and 1 mean.
      trivial:     utility of the best single model.
    Returns: Recovery; the interval follows that of the attacked cell alone.
    Raises:  NotMeasurable as ``check_measurable``.
    """
    check_measurable(unprotected, scales, trivial)
    best = best_of(attacked, scales)
    same = [cell for cell in unprotected if cell.merge == best.merge]
    reference = best_of(same, scales) if same else None
    if reference is None or scales.of(reference) - trivial < thresholds.MIN_MARGIN:
        reference = best_of(unprotected, scales)
    margin = scales.of(reference) - trivial
    low, high = scales.interval(best)

    def fraction(utility: float) -> float:
        return min(1.0, max(0.0, (utility - trivial) / margin))

    return Recovery(
        ruf=fraction(scales.of(best)), low=fraction(low), high=fraction(high), attacked=best, unprotected=reference
    )


@dataclass(frozen=True, kw_only=True)
class Graded:
    """A letter, the level that decided it (None: none reached 0.9), and whether levels not run could lower it."""

    grade: Grade
    level: int | None
    final: bool


def grade(rufs: Mapping[int, float]) -> Graded:
    """Grade a protection.

    Args:
      rufs: level -> RUF, for the levels that were run.
    Returns: the letter of the first level at or above 0.9.  A gap below that level, or levels up to 5 that were not
      run, leave the worst letter that they allow, marked as not final.
    """
    for level, letter in thresholds.LETTERS.items():
        if level not in rufs:
            return Graded(grade=letter, level=None, final=False)
        if rufs[level] >= thresholds.BROKEN_AT:
            return Graded(grade=letter, level=level, final=True)
    return Graded(grade=thresholds.UNBROKEN, level=None, final=True)
