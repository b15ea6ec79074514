"""Merging in the space of products: keys inside heads change nothing, and without keys it is task arithmetic."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadRecipe
from mergebarrier.keys import Key
from mergebarrier.merge import make, plan
from mergebarrier.merge import recipe as recipes
from mergebarrier.merge.recipe.recipe import parse
from mergebarrier.protect import MergeLock

FAMILIES = ("llama-gqa-untied", "llama-mqa-biased", "qwen2", "gpt2-tied")


def merged(base: Path, experts: list[Path], out: Path, method: str, **parameters: object) -> dict[str, torch.Tensor]:
    with open_checkpoint(base) as anchor, open_checkpoint(experts[0]) as one, open_checkpoint(experts[1]) as other:
        planned = plan(make(method, **parameters), anchor, [one, other])
        verbs.merge(verbs.whole_models(planned), verbs.OutputOptions(out))
    return load_file(out / "model.safetensors")


def locked(folder: Path, out: Path, secret: int) -> Path:
    with open_checkpoint(folder) as source:
        verbs.protect(source, MergeLock(), Key(bytes([secret]) * 32), verbs.OutputOptions(out))
    return out


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return float(sum((one[name] - other[name]).double().square().sum() for name in one)) ** 0.5


@pytest.mark.parametrize("name", FAMILIES)
def test_keys_inside_heads_change_nothing(name, tmp_path) -> None:
    base = tiny_models.save(name, tmp_path / "base")
    experts = [tiny_models.save_expert(name, tmp_path / f"expert-{task}", step=0.03, task=task) for task in (1, 2)]
    hidden = [locked(expert, tmp_path / f"locked-{n}", n) for n, expert in enumerate(experts, start=1)]
    choice = {"coefficient": 0.7, "weights": (1.0, 0.6)}
    plain = merged(base, experts, tmp_path / "plain", "product_space", **choice)
    attacked = merged(base, hidden, tmp_path / "attacked", "product_space", **choice)
    stock = merged(base, hidden, tmp_path / "stock", "task_arithmetic", **choice)
    straight = merged(base, experts, tmp_path / "straight", "task_arithmetic", **choice)
    moved = distance(straight, load_file(base / "model.safetensors"))
    assert distance(attacked, plain) < 1e-3 * moved
    assert distance(stock, straight) > 5 * moved, "the lock is one"
    # Without a key the two differ by what lies along the bases of heads, and by second order.
    assert distance(plain, straight) < moved


def test_the_merge_of_the_base_with_itself_is_the_base(tmp_path) -> None:
    base = tiny_models.save("llama-gqa-untied", tmp_path / "base", dtype=torch.float64)
    found = merged(base, [base, base], tmp_path / "out", "product_space", coefficient=0.4)
    assert distance(found, load_file(base / "model.safetensors")) < 1e-10


def test_a_recipe_goes_tensor_by_tensor_and_says_so(tmp_path) -> None:
    text = b"merge_method: product_space\nbase_model: a\nmodels: [{model: a}, {model: b}]\ndtype: float32\n"
    asked = parse(text, tmp_path / "recipe.yaml")
    with open_checkpoint(tiny_models.save("qwen2", tmp_path / "a")) as model:
        with pytest.raises(BadRecipe, match="heads meet"):
            recipes.plan(asked, dict.fromkeys(asked.references(), model))
