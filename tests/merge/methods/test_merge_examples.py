"""Every example in a docstring of the room is run, and prints what it says."""

import doctest
import importlib
import pkgutil


def test_the_examples_print_what_they_say() -> None:
    merge = importlib.import_module("mergebarrier.merge")
    names = [module.name for module in pkgutil.walk_packages(merge.__path__, "mergebarrier.merge.")]
    results = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) >= 10
