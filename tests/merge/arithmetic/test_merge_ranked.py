"""The order of magnitudes is that of a stable sort, for every width of a row and every kind of ties."""

import numpy as np
import pytest

from mergebarrier.merge.arithmetic import ranks


def rows(kind: str, columns: int) -> np.ndarray:
    normal = np.abs(np.random.Generator(np.random.Philox(3)).standard_normal((11, columns)))
    shapes = {
        "normal": normal.astype(np.float32),
        "double": normal,
        "a few values": (np.round(normal * 4) / 4).astype(np.float32),
        "subnormal": (normal * 1e-42).astype(np.float32),
        # All that tells the entries apart is in the lowest bits.
        "one ulp apart": (np.float32(1) + (normal * 40).astype(np.uint32) * np.float32(2.0**-23)).astype(np.float32),
        "all zero": np.zeros((11, columns), np.float32),
    }
    return shapes[kind]


@pytest.mark.parametrize("columns", [1, 2, 3, 17, 1024, 2048, 2049])
@pytest.mark.parametrize("kind", ["normal", "double", "a few values", "subnormal", "one ulp apart", "all zero"])
def test_the_order_is_that_of_a_stable_sort(kind, columns) -> None:
    magnitudes = rows(kind, columns)
    assert np.array_equal(ranks._ascending(magnitudes).numpy(), np.argsort(magnitudes, axis=1, kind="stable"))
