"""The cut keeps exactly k entries, the largest, and among equals those of smallest index, whatever the ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mergebarrier.merge.arithmetic import largest


def kept_by_sorting(values: np.ndarray, k: int) -> np.ndarray:
    return np.sort(np.argsort(-values, kind="stable")[:k])


def kept_by_cut(values: np.ndarray, k: int, block: int, sample: np.ndarray | None = None, runs: int = 0) -> np.ndarray:
    def walk(streams, first):
        buffer = np.empty(block, values.dtype)
        for start in range(first * block, len(values), block):
            part = values[start : start + block]
            buffer[: len(part)] = part
            yield from ((stream, buffer[: len(part)]) for stream in streams)

    chosen = values[largest.places(len(values), runs)] if sample is None else sample
    ((cut,),) = largest.largest(walk, {0: chosen}, len(values), {0: [k]}).values()
    index = np.arange(len(values))
    return np.flatnonzero((values > cut.threshold) | ((values == cut.threshold) & (index <= cut.last)))


@settings(max_examples=200, deadline=None)
@given(
    values=hnp.arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0])),
    data=st.data(),
)
def test_small_arrays_full_of_ties(values, data) -> None:
    k = data.draw(st.integers(1, len(values)))
    block = data.draw(st.integers(1, len(values)))
    assert np.array_equal(kept_by_cut(values, k, block), kept_by_sorting(values, k))


def distributions() -> dict[str, np.ndarray]:
    rng = np.random.Generator(np.random.Philox(7))
    size = 5 * largest.SAMPLE + 11
    normal = np.abs(rng.standard_normal(size)).astype(np.float32)
    return {
        "normal": normal,
        "double": np.abs(rng.standard_normal(size)),
        "a few values": np.round(normal * 4) / 4,
        "mostly zero": np.where(rng.random(size) < 0.9, 0, normal).astype(np.float32),
        "all equal": np.ones(size, np.float32),
        "all zero": np.zeros(size, np.float32),
        "two values": (rng.random(size) < 0.5).astype(np.float32),
        "sorted": np.sort(normal),
        "one giant": np.where(np.arange(size) == 3, np.float32(1e30), normal),
        "subnormal": normal * np.float32(1e-42),
    }


@pytest.mark.parametrize("kind", distributions())
def test_large_arrays_of_every_kind(kind) -> None:
    values = distributions()[kind]
    size = len(values)
    for k in (1, 2, size // 100, size // 3, size // 2, size - 2, size):
        for runs in (0, largest.RUNS):
            assert np.array_equal(kept_by_cut(values, k, 9973, runs=runs), kept_by_sorting(values, k)), (k, runs)


@pytest.mark.parametrize("wrong", [0.0, 1e-3, 0.5, 0.7, 1.0, 1e9])
def test_a_misleading_sample_costs_time_and_not_the_result(wrong) -> None:
    values = distributions()["a few values"]
    sample = np.full(largest.places(len(values)).shape, wrong, np.float32)
    for k in (1, len(values) // 3, len(values) // 2, len(values)):
        assert np.array_equal(kept_by_cut(values, k, 9973, sample), kept_by_sorting(values, k)), k


def test_every_column_of_a_matrix_is_sampled() -> None:
    for columns in (576, 1024, 4096):
        met = np.unique(largest.places(columns * 1536) % columns)
        assert len(met) > 0.9 * columns * (1 - np.exp(-largest.SAMPLE / columns))
