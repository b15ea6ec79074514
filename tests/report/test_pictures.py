"""The pictures of an audit: which merges are beaten by none, and levels by what they cost."""

import dataclasses
from itertools import combinations

import pytest

from mergebarrier.report import render_html
from mergebarrier.report.pictures import front, fronts, prices


def test_a_front_holds_what_no_other_point_beats_and_nothing_else() -> None:
    points = [(0.1, 0.9), (0.5, 0.5), (0.4, 0.6), (0.5, 0.6), (0.9, 0.1), (0.2, 0.2), (0.9, 0.05)]
    assert front(points) == [(0.1, 0.9), (0.5, 0.6), (0.9, 0.1)]
    assert front([]) == [] and front([(0.3, 0.3)] * 3) == [(0.3, 0.3)]


def test_every_state_with_a_column_has_a_mark_of_its_own(result, rows) -> None:
    found = fronts([row for row in rows if row.split == "test"], result)
    shown = {state for state, about in result.states.items() if about.column and state in {row.state for row in rows}}
    assert len(found) == len(shown) == len({one.mark for one in found})
    assert all(one.drawn.dots for one in found)


@pytest.mark.parametrize("flops", [0, 1, 10**9, 10**24])
def test_every_level_stands_inside_the_frame_whatever_it_costs(flops: int, result) -> None:
    levels = tuple(dataclasses.replace(level, flops=flops * (1 + level.level)) for level in result.levels)
    drawn = prices(dataclasses.replace(result, levels=levels))
    assert [point.number for point in drawn.points] == [str(level.level) for level in levels]
    assert sorted(", ".join(label.text for label in drawn.labels).split(", ")) == [str(level.level) for level in levels]
    for one, other in combinations(drawn.labels, 2):
        assert abs(one.x - other.x) + abs(one.y - other.y) > 10, "numbers do not stand upon each other"
    for point in drawn.points:
        assert drawn.frame.left <= point.x <= drawn.frame.right and drawn.frame.above <= point.y <= drawn.frame.below


def test_the_page_says_first_whether_the_model_still_works(result, rows) -> None:
    page = render_html(result, rows)
    assert page.index("By itself the protected model scores") < page.index("Stock merging recovers")
