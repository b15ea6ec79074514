"""What every test of the real model shares: base, experts, tasks and text, made once or found in the cache."""

import pytest

from mergebarrier import zoo


@pytest.fixture(scope="session")
def assets() -> zoo.DemoAssets:
    """Everything that the demonstration needs; a test fails, and is never skipped, when it cannot be had."""
    return zoo.demo_assets()
