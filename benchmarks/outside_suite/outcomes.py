"""A pytest plugin that notes how each test ended, in one line of JSON each; run inside the temporary folder only."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from mergekit import internals


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: Any, nextitem: Any) -> Iterator[None]:
    """Placeholders complain while a test runs."""
    del nextitem
    internals.running = True
    try:
        return (yield)
    finally:
        internals.running = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Iterator[None]:
    """Note the first phase that decides, or a passed call."""
    report = yield
    decides = report.when == "call" or not report.passed
    if decides:
        fault = call.excinfo
        outcome = report.outcome
        if fault is not None and fault.errisinstance(internals.BoundToInternals):
            outcome = "out"
        line = {
            "file": item.path.name,
            "test": item.originalname,
            "outcome": outcome,
            "fault": "" if fault is None or report.skipped else f"{fault.typename}: {fault.value}"[:300],
        }
        with open(os.environ["OUTCOMES"], "a") as file:
            file.write(json.dumps(line) + "\n")
    return report
