"""How many of our files a person meets who follows a command from its first line to its last."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import count_files

#: The most files of ours that a command may run a function of; lower them as they fall.
LIMITS = {"mergebarrier protect MODEL": 35, "mergebarrier merge RECIPE.yaml": 60}


@pytest.mark.parametrize("label", LIMITS)
def test_a_command_runs_few_of_our_files(label: str, tmp_path: Path) -> None:
    words = count_files.commands(tmp_path)[label]
    ran = subprocess.run([sys.executable, count_files.__file__, *words], capture_output=True, text=True, check=True)
    files = json.loads(ran.stdout.splitlines()[-1])
    assert "lazy.py" in files and "run/transform.py" in files, "the probe sees what runs"
    assert "protect/mergebarrier.py" not in files, "the probe counts what is only imported"
    assert len(files) <= LIMITS[label], files
