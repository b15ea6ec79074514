"""The package that answers to mergekit's name in the bench of its suite keeps up with what a plan asks of a model."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import torch
from mergekit.memory import merge
one, two = ({"w": torch.full((2, 3), value)} for value in (1.0, 3.0))
found = merge([one, two], "linear", None, {}, [{"weight": 1.0}, {"weight": 3.0}], torch.float32, None)
assert torch.equal(found["w"], torch.full((2, 3), 2.5)), found
"""


def test_state_dicts_in_memory_are_planned_and_merged() -> None:
    places = (ROOT / "benchmarks" / "outside_suite" / "shim", ROOT / "src")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    ran = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
