"""Every example in a docstring of the room is run, and prints what it says."""

import doctest
import importlib
import pkgutil

import mergebarrier.merge


def test_the_examples_print_what_they_say() -> None:
    names = [f"mergebarrier.merge.{module.name}" for module in pkgutil.iter_modules(mergebarrier.merge.__path__)]
    results = [doctest.testmod(importlib.import_module(name)) for name in ["mergebarrier.merge", *names]]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) >= 10
