"""Draws belong to the name of their stream alone, and the numbers of every stream that exists stay as they are."""

import hashlib

import torch

from mergebarrier.numerics import draws
from mergebarrier.training import batches, uniform


def _digest(drawn: torch.Tensor) -> str:
    return hashlib.sha256(drawn.contiguous().numpy().tobytes()).hexdigest()[:16]


def test_the_numbers_of_every_room_are_pinned() -> None:
    stream = ("poison", 3, "a")
    assert _digest(draws.uniform(stream, 35, low=-1.0, high=2.0)) == "1ddc7fc1065a90b2"
    assert _digest(draws.order(stream, 35)) == "dce1879a310f55d8"
    assert _digest(draws.below(stream, 10, 35)) == "3ad1be065bab39f8"
    assert _digest(draws.uniform(("scan", 3, "a"), 5, 7).float()) == "0d575a422513767a"
    assert _digest(draws.below(("scan", 3, "a"), 10, 5, 7, bits=63)) == "18af25d1aa1e4e9e"
    assert draws.order(("calibration", 3), 12).tolist() == [4, 11, 1, 3, 10, 9, 8, 2, 0, 6, 5, 7]
    assert _digest(uniform(3, "a", 5, 7)) == "ceaa5c7dbc15e40d"
    rows = batches(5, 3, seed=3, label="x")
    assert [next(rows).tolist() for _ in range(4)] == [[1, 3, 2], [4, 0, 3], [0, 2, 4], [1, 0, 3]]


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    stream = ("scan", 1, "b")
    assert torch.equal(draws.uniform(stream, 4, 25).view(-1)[:7], draws.uniform(stream, 7))
    assert torch.equal(draws.below(stream, 9), draws.below(stream, 9, 3)[0])


def test_room_seed_and_label_each_make_another_stream() -> None:
    streams = [("scan", 0, "a"), ("poison", 0, "a"), ("scan", 1, "a"), ("scan", 0, "b")]
    assert len({_digest(draws.uniform(stream, 8)) for stream in streams}) == 4


def test_ranges_hold() -> None:
    drawn = draws.uniform(("scan", 5, "range"), 4000, low=-2.0, high=3.0)
    assert -2.0 <= float(drawn.min()) < -1.9 and 2.9 < float(drawn.max()) < 3.0
    assert draws.below(("scan", 5, "range"), 4, 4000).unique().tolist() == [0, 1, 2, 3]
    assert draws.order(("scan", 5, "range"), 50).sort().values.tolist() == list(range(50))
