"""The small bench, made once per session in a folder of its own: a base and one drawn task, no network."""

from pathlib import Path

import pytest

from mergebarrier import zoo


@pytest.fixture(scope="session")
def bench(tmp_path_factory) -> dict[str, Path]:
    """name -> folder of the committed base, the names and two drawn tasks; faces come out of the installed package."""
    import os

    before = os.environ.get("MERGEBARRIER_CACHE")
    os.environ["MERGEBARRIER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    try:
        return {name: zoo.path(name) for name in ("glyph-base", "glyph-names", "latin", "symbols")}
    finally:
        if before is None:
            del os.environ["MERGEBARRIER_CACHE"]
        else:
            os.environ["MERGEBARRIER_CACHE"] = before
