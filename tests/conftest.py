"""Fixtures that every room may use; a room's own fixtures live in ``tests/<room>/conftest.py``."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mergebarrier.cli import main


@dataclass(frozen=True)
class Ran:
    """What one call of the command line left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """Parse stdout as exactly one JSON document."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Call ``mergebarrier`` in this process: ``run_cli("merge", a, b, "-o", out) -> Ran``."""

    def run(*words: object) -> Ran:
        capsys.readouterr()
        torch = sys.modules.get("torch")
        environment, threads = dict(os.environ), torch.get_num_threads() if torch is not None else 0
        try:
            exit_code = main([str(word) for word in words])
        finally:
            os.environ.clear()
            os.environ.update(environment)
            if torch is not None:
                torch.set_num_threads(threads)
        captured = capsys.readouterr()
        return Ran(exit_code, captured.out, captured.err)

    return run
