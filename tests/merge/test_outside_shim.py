"""The package that answers to mergekit's name in the bench of its suite keeps up with what a plan asks of a model."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from mergebarrier.checkpoint import Checkpoint

#: What asks for bytes in a file.
OF_FILES = {"digest", "digests", "content_digest", "read_side_file"}


@pytest.fixture(scope="module")
def memory():
    path = Path(__file__).parents[2] / "benchmarks" / "outside_suite" / "shim" / "mergekit" / "memory.py"
    spec = importlib.util.spec_from_file_location("memory", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_state_dict_has_all_that_a_checkpoint_has(memory) -> None:
    held = {"w": torch.arange(12.0).view(4, 3), "v": torch.arange(8).view(2, 2, 2), "s": torch.tensor(2.0)}
    model = memory.Memory("m", held)
    assert isinstance(model, Checkpoint) and model.name == "m"
    called = {
        "read": ("w",), "read_rows": ("w", 1, 3), "read_matrix_rows": ("v", 1, 4), "made_of": ("w",),
        "without": ({}, None),
    }  # fmt: skip
    found = {}
    for name in sorted(set(dir(Checkpoint)) | set(vars(model))):
        if not name.startswith("_") and name not in OF_FILES:
            value = getattr(model, name)
            found[name] = value(*called.get(name, ())) if callable(value) else value
    assert found["tensors"].keys() == held.keys() and found["folder_notes"] == ()
    assert all(torch.equal(model.read(name), tensor) for name, tensor in held.items())
    assert torch.equal(found["read_rows"], held["w"][1:3])
    assert torch.equal(found["read_matrix_rows"], held["v"].reshape(4, 2)[1:4])


@pytest.mark.parametrize(
    ("name", "values", "base", "shared", "wanted"),
    [("linear", (1, 4), None, {"weight": 1.0}, 2.5), ("ties", (1, 1, 4), 0, {"weight": 1.0}, 4.0),
     ("slerp", (1, 4), 0, {"t": 0.5}, 2.5)],
)  # fmt: skip
def test_a_recipe_over_state_dicts_is_planned_and_applied(memory, name, values, base, shared, wanted) -> None:
    tables = [{"a.weight": torch.full((2, 3), float(value)), "a.bias": torch.full((2,), value / 1)} for value in values]
    merged = memory.merge(tables, name, base, shared, [{} for _ in tables], None, None)
    assert all(torch.allclose(merged[key], torch.full_like(tables[0][key], wanted)) for key in tables[0])


@pytest.mark.parametrize("kind", ["magnitude", "random", "magnitude_outliers", "della_magprune"])
def test_one_tensor_is_thinned(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "outside_suite" / "shim"))
    shim = importlib.import_module("mergekit.sparsify")
    for name in [name for name in sys.modules if name.partition(".")[0] == "mergekit"]:
        del sys.modules[name]  # another test makes sure that the real one is not installed here
    tensor = torch.arange(1.0, 401.0).view(20, 20)
    thinned = shim.sparsify(tensor, 0.5, shim.SparsificationMethod(kind))
    kept = thinned != 0
    assert torch.equal(thinned[kept], tensor[kept]) and 140 <= int(kept.sum()) <= 260
