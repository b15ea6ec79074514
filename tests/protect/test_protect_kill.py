"""SIGKILL at any moment leaves nothing that loads as a complete model, and --resume ends with identical bytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_models
from scripts import with_helpers


@pytest.mark.parametrize("n_rounds", [12, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, n_rounds):
    model = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    script = Path(__file__).with_name("kill_many_times.py")
    words = [sys.executable, str(script), str(model), str(tmp_path / "out"), str(n_rounds)]
    done = subprocess.run(words, env=with_helpers(), capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    kills = [line for line in lines if "kill" in line]
    rounds = [line for line in lines if "finished" in line]
    assert len(kills) >= n_rounds and len(rounds) == n_rounds
    assert not any(line["loadable_partial"] for line in kills), "half a model under its final names"
    assert all(line["complete_is_whole"] for line in kills)
    assert any(not line["complete"] for line in kills), "every kill came too late to test anything"
    assert all(line["identical"] for line in rounds), done.stderr
