"""A killed run leaves nothing that passes for a model, and --resume ends with the bytes of an undisturbed run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model_folders import small_tensors, thirds, write_folder
from scripts import with_helpers

LAB = Path(__file__).with_name("kill_lab.py")


def large_tensors(seed: int) -> dict[str, torch.Tensor]:
    """Some megabytes, so that a random moment falls into every phase of a run."""
    generator = torch.Generator().manual_seed(seed)
    names = [
        f"model.layers.{i}.{part}.weight" for i in range(12) for part in ("attn.q", "attn.o", "mlp.up", "mlp.down")
    ]
    tensors = {name: torch.randn(128, 512, generator=generator).bfloat16() for name in names}
    tensors["model.embed_tokens.weight"] = torch.randn(500, 512, generator=generator).bfloat16()
    return tensors


def lab(mode: str, source: Path, work: Path, *, seed: int = 0, count: int) -> dict[str, int]:
    words = [sys.executable, str(LAB), mode, str(source), str(work), str(seed), str(count)]
    ran = subprocess.run(words, env=with_helpers(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    seen: dict[str, int] = json.loads(ran.stdout)
    return seen


def folder(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    texts = {"tokenizer.json": "{}", "additional_chat_templates/rag.jinja": "x"}
    return write_folder(path, tensors, shards=thirds(tensors), side_files=texts)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    source = folder(tmp_path / "model", large_tensors(0))
    (tmp_path / "work").mkdir()
    seen = lab("random", source, tmp_path / "work", seed=1, count=33)
    assert seen["kills"] >= 40
    assert seen["partial"] >= 10 and seen["resumed_units"] >= 10


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_before_every_call_that_writes(tmp_path: Path, step: int) -> None:
    source = folder(tmp_path / "model", small_tensors())
    (tmp_path / "work").mkdir()
    seen = lab("every", source, tmp_path / "work", count=step)
    assert seen["kills"] >= 100 // step
    assert seen["absent"] and seen["partial"] and seen["complete"]


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_while_an_old_output_is_replaced(tmp_path: Path, step: int) -> None:
    source = folder(tmp_path / "model", small_tensors())
    (tmp_path / "work").mkdir()
    folder(tmp_path / "work" / "other", small_tensors(seed=9))
    seen = lab("overwrite", source, tmp_path / "work", count=step)
    assert seen["kills"] >= 100 // step
