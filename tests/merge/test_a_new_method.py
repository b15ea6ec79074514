"""A merge method is one file and one line of the registry; everything else that speaks of it follows from that."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from merge_models import tensors
from mergebarrier.checkpoint import read_manifest
from mergebarrier.merge import MERGES

_MODULE = '''
"""A toy: the base, and a share of the first task vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.merge.method import Merge
from mergebarrier.parameters import flag, number


@dataclass(frozen=True, kw_only=True)
class Toy(Merge):
    """Go some of the way to the first model."""

    name: ClassVar[str] = "toy_way"
    need: ClassVar[str] = "elementwise"
    uses_base: ClassVar[bool] = True

    way: float = number(0.5, help="How far to go.", low=0, high=1, recipe="toy_distance")
    back: bool = flag(False, help="Go the other way.", gradient=False)

    def kernel(self, operands):
        """Yield the blocks."""
        for start, stop in operands.spans():
            base = operands.load_base(start, stop, operands.buffer())
            tau = operands.load_task_vector(0, start, stop, base, operands.buffer())
            yield base.add(tau, alpha=-self.way if self.back else self.way)
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The class of a method that stands in a module of its own, while its line is in the registry."""
    (tmp_path / "toy_method.py").write_text(_MODULE)
    kind = runpy.run_path(str(tmp_path / "toy_method.py"), run_name="toy_method")["Toy"]
    monkeypatch.setitem(MERGES, "toy_way", kind)
    return kind


@pytest.fixture
def folders(save):
    return [save(name, tensors(number)) for number, name in enumerate(("base", "a", "b"))]


def _recipe(path: Path, base: Path, a: Path, b: Path) -> Path:
    path.write_text(
        f"merge_method: toy_way\nbase_model: {base}\nparameters: {{toy_distance: 0.25}}\nmergebarrier: {{back: true}}\n"
        f"models:\n  - model: {a}\n  - model: {b}\n"
    )
    return path


def test_the_help_shows_its_options(toy, run_cli) -> None:
    shown = " ".join(run_cli("merge", "--help").stdout.split())
    assert "toy_way" in shown and "--way X toy_way: how far to go (a number from 0 to 1). [default: 0.5]" in shown
    assert "--back / --no-back toy_way: go the other way." in shown


def test_explain_names_its_parameters(toy, folders, run_cli, tmp_path) -> None:
    ran = run_cli("merge", _recipe(tmp_path / "toy.yaml", *folders), "--explain")
    assert ran.exit_code == 0, ran.stderr
    assert "toy_way toy_distance=0.25 depth=" in ran.stdout and "all: way=0.25 back=True need=elementwise" in ran.stdout


def test_a_merge_computes_it_and_the_manifest_says_so(toy, folders, run_cli, tmp_path) -> None:
    base, a, _ = (load_file(folder / "model.safetensors") for folder in folders)
    words = ("merge", *folders[1:], "--base", folders[0], "--method", "toy_way")
    ran = run_cli(*words, "--way", "0.25", "--back", "-o", tmp_path / "flags")
    assert ran.exit_code == 0, ran.stderr
    assert run_cli("merge", _recipe(tmp_path / "toy.yaml", *folders), "-o", tmp_path / "recipe").exit_code == 0
    content = read_manifest(tmp_path / "flags")["content"]
    assert content["method"] == "toy_way" and content["parameters"] == {"way": 0.25, "back": True}
    assert json.dumps(content["parameters"]) in json.dumps(read_manifest(tmp_path / "recipe")["content"])
    for folder in ("flags", "recipe"):
        merged = load_file(tmp_path / folder / "model.safetensors")
        for name, before in base.items():
            assert torch.allclose(merged[name], before - 0.25 * (a[name] - before)), name
    ran = run_cli(*words, "--way", "1.5", "-o", tmp_path / "no")
    assert ran.exit_code == 2 and "toy_way: way is 1.5; give way as a number from 0 to 1" in ran.stderr


def test_the_page_of_methods_has_it(toy) -> None:
    page = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "_generate_methods.py"))["render"]()
    assert "| [`toy_way`](#toy_way) | Go some of the way to the first model. | needed | 1 or more |" in page
    assert "| `way` | `--way` | `toy_distance` | a number from 0 to 1 | 0.5 | How far to go |" in page
    assert (
        "| `back` | `--back`, `--no-back` | `mergebarrier: back` | true or false | false | Go the other way |" in page
    )
