"""The source tree, parsed once for all house tests."""

from pathlib import Path

import pytest

from source_tree import ROOT, Module, Tree, read_modules


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def modules() -> list[Module]:
    """Every module of the package, in a fixed order."""
    found = read_modules()
    assert len(found) > 100
    return found


@pytest.fixture(scope="session")
def tree(modules) -> Tree:
    """The modules and the imports between them."""
    return Tree(modules)
