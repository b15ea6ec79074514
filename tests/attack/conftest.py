"""A base, a task and a poisoned expert of it as folders, made once; clean experts come from the same recipe."""

import pytest

import tiny_bench


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tiny_bench.Tiny:
    """The smallest bench on which an attack works."""
    return tiny_bench.make(tmp_path_factory.mktemp("tiny-bench"))
