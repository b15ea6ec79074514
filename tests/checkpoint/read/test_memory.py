"""Buffers go round: never while a tensor still views them, and no more than a few."""

import pytest

from mergebarrier.checkpoint.read.checkpoint import Memory

SIZE, KEPT = 5 << 20, 4


def test_a_buffer_serves_again_when_its_last_view_is_gone() -> None:
    memory = Memory(KEPT)
    first = memory.take(SIZE)
    place, view = first.data_ptr(), first.fill_(7)[3:9].view(2, 3)
    del first
    other = memory.take(SIZE).fill_(1)
    assert other.data_ptr() != place
    assert view.tolist() == [[7] * 3] * 2
    del view
    assert memory.take(SIZE - 100).data_ptr() == place


@pytest.mark.parametrize("close", [False, True])
def test_only_a_few_are_kept_and_none_after_the_end(close) -> None:
    memory = Memory(KEPT)
    taken = [memory.take(SIZE) for _ in range(KEPT + 3)]
    if close:
        memory.close()
    taken.clear()
    assert len(memory._free) == (0 if close else KEPT)


def test_a_larger_one_takes_the_place_of_one_that_is_too_small() -> None:
    memory = Memory(KEPT)
    memory.take(SIZE)
    larger = memory.take(2 * SIZE)
    assert larger.numel() == 2 * SIZE
    assert not memory._free
    del larger
    assert [len(region) for region in memory._free] == [2 * SIZE]


def test_little_ones_are_not_worth_it() -> None:
    memory = Memory(KEPT)
    memory.take(100)
    assert not memory._free
