"""Tensors that no formula was written for, through the command: each merges to something stated, or is refused by name.

zero norm, one element, none at all, scattered in memory | tied, missing, extra, mismatched
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mergebarrier.merge import make

EMBED = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
NORM = "model.norm.weight"


def model(**more: Tensor) -> dict[str, Tensor]:
    """A model of two tensors, and whatever a test adds."""
    return {EMBED: torch.arange(60.0).reshape(10, 6) / 7, NORM: torch.ones(6), **more}


@pytest.fixture
def merge(run_cli, save, tmp_path: Path) -> Callable[..., tuple[dict[str, Tensor], str]]:
    """Return ``merge(models, words, expect)``: merge folders a, b, ..; give the result, or the one line of refusal."""

    def run(models: list[dict[str, Tensor]], *words: str, refused: bool = False, **config: object):
        folders = []
        for name, tensors in zip("abc", models, strict=False):
            flags = {key: value[name] if isinstance(value, dict) else value for key, value in config.items()}
            folders.append(save(name, tensors, **flags))
        out = tmp_path / "out"
        ran = run_cli("merge", *folders, *words, "-o", out, "--quiet")
        assert ran.exit_code == (2 if refused else 0), ran.stderr
        if refused:
            assert not out.exists() and not (tmp_path / "out.partial").exists()
            (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error:")]
            return {}, line
        return load_file(out / "model.safetensors"), ran.stderr

    return run


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        # No direction: slerp takes the straight line, the mean on the sphere only counts its length, of zero.
        (("--method", "slerp", "-t", "0.25"), 0.25),
        (("--method", "nuslerp"), 0.5),
        (("--method", "karcher"), 0.5),
        (("--method", "multislerp"), 0.5),
        (("--method", "linear"), 0.5),
    ],
)
def test_a_zero_tensor_beside_another(merge, words: tuple[str, ...], wanted: float) -> None:
    x = torch.linspace(-1, 1, 8)
    merged, _ = merge([model(w=torch.zeros(8)), model(w=x)], *words)
    assert torch.allclose(merged["w"], wanted * x, rtol=1e-6, atol=1e-7)
    assert torch.isfinite(merged["w"]).all()


@pytest.mark.parametrize("kind", ["slerp", "nuslerp", "karcher", "multislerp", "ties", "della", "breadcrumbs"])
def test_two_zero_tensors_merge_to_zero(merge, kind: str, save, tmp_path: Path) -> None:
    base = ("--base", str(save("base", model(w=torch.zeros(8))))) if kind in ("ties", "della", "breadcrumbs") else ()
    words = ("-t", "0.5") if kind == "slerp" else ("--density", "0.5") if base else ()
    merged, _ = merge([model(w=torch.zeros(8)), model(w=torch.zeros(8))], "--method", kind, *words, *base)
    assert torch.equal(merged["w"], torch.zeros(8))


def test_opposite_tensors_have_no_direction_in_common(merge) -> None:
    x = torch.linspace(-1, 1, 8)
    three = [model(w=x), model(w=-x), model(w=torch.zeros(8))]
    _, line = merge(three, "--method", "multislerp", refused=True)
    assert "w" in line and "cancel" in line


def test_single_elements_and_scalars(merge) -> None:
    models = [model(w=torch.tensor([value]), s=torch.tensor(value)) for value in (1.0, 3.0)]
    merged, _ = merge(models, "--method", "linear")
    assert merged["w"].tolist() == [2.0] and merged["s"].shape == () and merged["s"].item() == 2.0


def test_empty_tensors_stay_empty(merge) -> None:
    models = [model(w=torch.zeros(0, 6), v=torch.zeros(3, 0)) for _ in range(2)]
    merged, _ = merge(models, "--method", "slerp", "-t", "0.5")
    assert merged["w"].shape == (0, 6) and merged["v"].shape == (3, 0)


def test_scattered_tensors_merge_as_tidy_ones_do() -> None:
    tidy = [torch.linspace(0, k, 24).reshape(4, 6) for k in (1.0, 2.0, 5.0)]
    scattered = [tensor.T.contiguous().T for tensor in tidy]
    assert not any(tensor.is_contiguous() for tensor in scattered)
    for method in (make("ties", density=0.5), make("della", density=0.5), make("slerp", t=0.3), make("linear")):
        count = slice(1, 3)
        wanted = method.merge(tidy[0], tidy[count], name="w")
        assert torch.equal(method.merge(scattered[0], scattered[count], name="w"), wanted), method.name


def test_tied_models_give_a_tied_model(merge) -> None:
    merged, _ = merge([model(), model()], "--method", "linear", tie_word_embeddings=True)
    assert HEAD not in merged


def test_tied_and_untied_are_not_mixed(merge) -> None:
    untied = model(**{HEAD: torch.ones(10, 6)})
    ties = {"a": True, "b": False}
    _, line = merge([model(), untied], "--method", "linear", refused=True, tie_word_embeddings=ties)
    assert "tied and untied" in line


def test_a_missing_tensor_is_named_with_its_owner(merge) -> None:
    _, line = merge([model(w=torch.ones(4)), model()], "--method", "linear", refused=True)
    assert "lacks 1 tensors (w) of a" in line and "/b" in line


def test_an_extra_tensor_is_named_with_its_owner(merge) -> None:
    _, line = merge([model(), model(w=torch.ones(4))], "--method", "linear", refused=True)
    assert "has 1 tensors (w) that a lacks" in line and "/b" in line


def test_another_shape_is_told_with_both(merge) -> None:
    _, line = merge([model(w=torch.ones(4)), model(w=torch.ones(5))], "--method", "linear", refused=True)
    assert "b: w" in line and "(5,) against (4,) in a" in line


def test_another_kind_of_number_is_told_with_both(merge) -> None:
    integers = torch.ones(4, dtype=torch.int32)
    _, line = merge([model(w=torch.ones(4)), model(w=integers)], "--method", "linear", refused=True)
    assert "b: w" in line and "I32 against F32" in line
