import pytest

from scan_world import World, make_world


@pytest.fixture(scope="session")
def world() -> World:
    """Four honest experts, and two poisoned twins of the first: one plain, one that survives scaling."""
    return make_world()
