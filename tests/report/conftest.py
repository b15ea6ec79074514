"""A made-up result in the shape of the measured one: a symmetry key that realignment undoes."""

import pytest

from made_up import made_up_result, made_up_rows
from mergebarrier.results import Cell, Result


@pytest.fixture
def result() -> Result:
    """An audit of levels 0 to 2."""
    return made_up_result()


@pytest.fixture
def rows() -> list[Cell]:
    """The cells behind it."""
    return made_up_rows()
