"""The road from skills to a letter: laws that hold for every audit, and the refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergebarrier.audit.bench.grading import best_of, check_measurable, grade, recovery, scale
from mergebarrier.errors import NotMeasurable
from mergebarrier.results import Cell, Scale, Scales
from mergebarrier.results.audit import Skill

ITEMS = 100
SCALES = Scales(protected=Scale(), partner=Scale())
counts = st.integers(0, ITEMS)
merges = st.sampled_from(["linear", "ties", "slerp"])


def _skill(correct: int) -> Skill:
    rate = correct / ITEMS
    return Skill(correct=correct, total=ITEMS, rate=rate, low=max(0.0, rate - 0.08), high=min(1.0, rate + 0.08))


def _cell(ours: int, theirs: int, merge: str = "linear") -> Cell:
    return Cell(
        row_id="id",
        level=0,
        attack="none",
        state="protected",
        split="test",
        merge=merge,
        coefficients={"coefficient": 0.5},
        parameters={},
        skill_protected=_skill(ours),
        skill_partner=_skill(theirs),
        nll_nats=1.0,
        tokens=1,
        merge_seconds=0.5,
        seconds=1.0,
        version="0",
    )


cells = st.lists(st.builds(_cell, counts, counts, merges), min_size=1, max_size=6)
working = cells.map(lambda found: [*found, _cell(90, 90)])


@given(cells, working, st.floats(0.0, 0.5))
def test_ruf_lies_between_0_and_1_inside_its_interval(attacked, unprotected, trivial) -> None:
    found = recovery(attacked, unprotected, SCALES, trivial)
    assert 0.0 <= found.low <= found.ruf <= found.high <= 1.0


@given(working, st.floats(0.0, 0.5))
def test_a_protection_that_does_nothing_has_ruf_1(unprotected, trivial) -> None:
    assert recovery(unprotected, unprotected, SCALES, trivial).ruf == 1.0


@given(working, merges)
def test_merges_that_lose_either_skill_have_ruf_0(unprotected, merge) -> None:
    """A merge that is the protected model itself keeps one skill and recovers nothing."""
    assert recovery([_cell(100, 0, merge), _cell(0, 100, merge)], unprotected, SCALES, 0.0).ruf == 0.0


@given(cells, st.builds(_cell, counts, counts, merges))
def test_no_further_merge_lowers_what_the_attacker_has(attacked, more) -> None:
    before = best_of(attacked, SCALES)
    after = best_of([*attacked, more], SCALES)
    assert min(after.skill_protected.rate, after.skill_partner.rate) >= min(
        before.skill_protected.rate, before.skill_partner.rate
    )


@given(st.lists(st.builds(_cell, counts, counts), min_size=1, max_size=6), working, st.builds(_cell, counts, counts))
def test_no_further_merge_by_one_algorithm_recovers_less(attacked, unprotected, more) -> None:
    """One algorithm, so one reference: another may be measured against another one."""
    fewer, further = (recovery(found, unprotected, SCALES, 0.0).ruf for found in (attacked, [*attacked, more]))
    assert fewer <= further


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_utility_counts_from_the_base_to_the_expert(base, expert, score) -> None:
    if expert - base < 0.05:
        with pytest.raises(NotMeasurable, match="expert scores"):
            scale(_at(base), _at(expert), task="t")
        return
    made = scale(_at(base), _at(expert), task="t")
    assert made.relative(base) == 0.0 and made.relative(expert) == 1.0
    assert 0.0 <= made.relative(score) <= 1.0


def _at(rate: float) -> Skill:
    return Skill(correct=0, total=1, rate=rate, low=rate, high=rate)


def test_the_reference_is_the_unprotected_merge_by_the_same_algorithm() -> None:
    unprotected = [_cell(90, 90, "ties"), _cell(60, 60, "slerp")]
    found = recovery([_cell(54, 54, "slerp")], unprotected, SCALES, 0.0)
    assert found.unprotected.merge == "slerp" and found.ruf == pytest.approx(0.9)


def test_where_that_algorithm_does_not_work_the_reference_is_the_best_of_all() -> None:
    unprotected = [_cell(90, 90, "ties"), _cell(5, 5, "slerp")]
    found = recovery([_cell(9, 9, "slerp")], unprotected, SCALES, 0.0)
    assert found.unprotected.merge == "ties" and found.ruf == pytest.approx(0.1)


def test_without_a_working_unprotected_merge_nothing_is_graded() -> None:
    with pytest.raises(NotMeasurable) as refused:
        check_measurable([_cell(50, 45)], SCALES, 0.36)
    assert "0.45" in str(refused.value) and "0.36" in str(refused.value) and refused.value.exit_code == 2
    assert "(linear 0.5)" in str(refused.value) and "--preset" in str(refused.value)
    check_measurable([_cell(50, 47)], SCALES, 0.36)


@given(st.dictionaries(st.integers(0, 5), st.floats(0, 1), max_size=6))
def test_the_grade_is_that_of_the_first_level_that_breaks_it(rufs) -> None:
    found = grade(rufs)
    run = 0
    while run in rufs and rufs[run] < 0.9:
        run += 1
    if run == 6:
        assert (found.grade, found.level, found.final) == ("A", None, True)
    else:
        assert found.grade == "DDCCBB"[run]
        assert (found.level, found.final) == ((run, True) if run in rufs else (None, False))


@given(st.dictionaries(st.integers(0, 5), st.floats(0, 0.89), max_size=5), st.floats(0, 1), st.data())
def test_running_a_further_level_never_makes_a_final_grade_better_than_its_letter_allowed(rufs, ruf, data) -> None:
    """What was promised before the further level was run is a lower bound afterwards."""
    level = data.draw(st.sampled_from(sorted(set(range(6)) - rufs.keys())))
    assert grade({**rufs, level: ruf}).grade <= grade(rufs).grade


@pytest.mark.parametrize(
    ("rufs", "letter"),
    [
        ({0: 0.0, 1: 0.0, 2: 1.0}, "C"),
        ({0: 0.95, 1: 1.0, 2: 1.0}, "D"),
        ({0: 0.88, 1: 0.93, 2: 1.0}, "D"),
        ({0: 0, 1: 0, 2: 0.2, 3: 0.2, 4: 0.95}, "B"),
    ],
)
def test_known_cases(rufs, letter: str) -> None:
    assert grade(rufs).grade == letter and grade(rufs).final
