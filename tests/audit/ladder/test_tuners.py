"""Searches over the coefficients of single parts: their mathematics, and that they lift what two coefficients leave."""

import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_models
import tiny_vision
from audit_stage import Memory, spec
from mergebarrier.audit import run_audit
from mergebarrier.audit.bench import Blend, from_coarse_to_fine, spread
from mergebarrier.audit.bench.blend import parts
from mergebarrier.audit.ladder import learn, smooth, starts
from mergebarrier.audit.ladder.learn import gradients
from mergebarrier.results import Cell

BUDGETS: dict[str, Any] = {"smooth_evaluations": 48, "learn_steps": 40}


def three(seed: int = 0) -> tuple[torch.nn.Module, dict[str, dict[str, torch.Tensor]]]:
    """A tiny model, and three sets of weights near its own."""
    module = tiny_models.build("llama-mha-tied").requires_grad_()
    draw = torch.Generator().manual_seed(seed)
    return module, {
        name: {key: value.detach() + 0.05 * torch.randn(value.shape, generator=draw) for key, value in
               module.named_parameters()}
        for name in ("base", "protected", "partner")
    }  # fmt: skip


@pytest.mark.parametrize("family", ["llama-mha-tied", "gpt2-tied"])
def test_parts_hold_every_tensor_once_and_groups_end_with_each_part(family: str) -> None:
    module = tiny_models.build(family)
    found = parts({name: value.dim() for name, value in module.named_parameters()})
    assert sorted(name for names in found.values() for name in names) == sorted(dict(module.named_parameters()))
    groups = from_coarse_to_fine(tuple(found))
    assert groups[0] == tuple(found) and {(part,) for part in found} <= set(groups)
    assert len(found) == 1 + 2 * 2, "attention and MLP of two layers, and the rest"


def test_one_expert_wholly_is_that_expert_and_no_expert_is_the_base() -> None:
    module, ends = three()
    blend = Blend(module, **ends)
    for pair, end in (((1.0, 0.0), "protected"), ((0.0, 1.0), "partner"), ((0.0, 0.0), "base")):
        blend.write(spread(pair, blend.names))
        for name, value in module.named_parameters():
            torch.testing.assert_close(value.detach(), ends[end][name], rtol=0, atol=1e-7)


def test_slopes_are_the_derivatives_of_the_loss() -> None:
    module, ends = three()
    blend = Blend(module, **ends)
    ids = torch.arange(24).view(3, 8)

    def loss() -> torch.Tensor:
        return module(ids, labels=ids).loss

    at = spread((0.6, 0.4), blend.names)
    blend.write(at)
    torch.autograd.backward(loss())
    found = blend.slopes()
    assert not [name for name, value in module.named_parameters() if value.grad is not None], "taken"
    for row, name in enumerate(blend.names[:4]):
        for side in (0, 1):
            ends_of = []
            for step in (1e-2, -1e-2):
                pair = [0.6, 0.4]
                pair[side] += step
                blend.write({name: (pair[0], pair[1])})
                with torch.no_grad():
                    ends_of.append(float(loss()))
            blend.write({name: (0.6, 0.4)})
            assert found[row, side] == pytest.approx((ends_of[0] - ends_of[1]) / 2e-2, abs=2e-4, rel=0.02)


def test_the_search_finds_the_coefficients_of_every_part_and_never_ends_above_its_start() -> None:
    module, ends = three()
    blend = Blend(module, **ends)
    wanted = {part: (1.0, 0.0) if n % 2 else (0.3, 0.8) for n, part in enumerate(blend.parts)}
    blend.write({name: wanted[part] for part, names in blend.parts.items() for name in names})
    goal = {name: value.detach().clone() for name, value in module.named_parameters()}
    seen = []

    def loss() -> float:
        seen.append(sum(float((module.get_parameter(name).data - goal[name]).square().sum()) for name in goal))
        return seen[-1]

    found = smooth(blend, loss, (0.7, 0.7), 400)
    assert loss() == min(seen) < 0.01 * seen[0] and len(seen) <= 401
    for part, names in blend.parts.items():
        assert found[names[0]] == pytest.approx(wanted[part], abs=0.1)
    assert smooth(blend, lambda: math.nan, (0.5, 0.5), 9) == spread((0.5, 0.5), found), "nothing is better than NaN"


@pytest.mark.parametrize("nearest", range(3))
def test_every_start_gets_a_fifth_of_the_steps_and_the_best_of_them_the_rest(nearest: int) -> None:
    module, ends = three()
    blend, asked = Blend(module, **ends), list[int]()
    begin = starts(blend.names, (0.1, 0.0), 0)
    assert [one[blend.names[0]] for one in begin[:2]] == [(0.1, 0.0), (1.0, 1.0)]
    assert len(set(begin[2].values())) == len(blend.names), "the third is spread out"
    blend.write(begin[nearest])
    goal = {name: value.detach().clone() for name, value in module.named_parameters()}

    def apart() -> torch.Tensor:
        return torch.stack([(module.get_parameter(name) - goal[name]).square().sum() for name in goal]).sum()

    def descend(step: int) -> None:
        asked.append(step)
        torch.autograd.backward(apart())

    found = learn(blend, descend, lambda: float(apart().detach()), begin, 10)
    assert all(found[name] == pytest.approx(begin[nearest][name], abs=0.2) for name in blend.names)
    assert len(asked) == gradients(10) == 14 and asked[-8:] == list(range(2, 10))
    # Too few steps to tell starts by are all the first one's.
    learn(blend, descend, lambda: float(apart().detach()), begin, 4)
    assert asked[14:] == [0, 1, 2, 3] and gradients(4) == 4


def test_an_encoder_of_images_is_searched_like_a_language_model() -> None:
    """One spoilt part: the best of a grid over two coefficients stays far from what the clean mix says of pictures."""
    module, draw = tiny_vision.stock("dinov2").eval(), torch.Generator().manual_seed(0)
    base = {name: value.detach().clone() for name, value in module.named_parameters()}
    clean, partner = (
        {name: value + 0.05 * torch.randn(value.shape, generator=draw) for name, value in base.items()} for _ in "ab"
    )
    protected = {
        name: value + (0.5 * torch.randn(value.shape, generator=draw) if ".1.mlp." in name else 0.0)
        for name, value in clean.items()
    }
    pictures = torch.randn(8, 3, 28, 28, generator=draw)
    Blend(module, base=base, protected=clean, partner=partner).write(spread((0.7, 0.7), base))
    goal = module(pictures).pooler_output.detach()

    def apart() -> torch.Tensor:
        return (module(pictures).pooler_output - goal).square().mean()

    def loss() -> float:
        with torch.no_grad():
            return float(apart())

    def descend(step: int) -> None:
        torch.autograd.backward(apart())

    blend, grid = Blend(module, base=base, protected=protected, partner=partner), {}
    for pair in product((0.1, 0.3, 0.5, 0.7, 1.0), (0.1, 0.3, 0.5, 0.7, 1.0, 1.2)):
        blend.write(spread(pair, blend.names))
        grid[loss()] = pair
    start = grid[min(grid)]
    smooth(blend, loss, start, 200)
    assert loss() < 0.5 * min(grid)
    learn(blend, descend, loss, starts(blend.names, start, 0), 40)
    assert loss() < 0.5 * min(grid)


def spoilt(original: Path, folder: Path) -> Path:
    """The original with noise in one part, which no two coefficients can leave out."""
    folder.mkdir()
    for file in original.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    noise = torch.Generator().manual_seed(1)
    for name in tensors:
        if ".1.mlp." in name:
            tensors[name] = tensors[name] + 0.3 * torch.randn(tensors[name].shape, generator=noise)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_what_two_coefficients_leave_broken_the_searches_over_parts_lift(stage: Any, tmp_path: Path) -> None:
    journal = Memory()
    asked = spec(stage, tmp_path / "work", protected=spoilt(stage.world.original, tmp_path / "spoilt"), **BUDGETS)
    result = run_audit(asked, journal)
    cells = [row for row in journal.used if isinstance(row, Cell) and row.split == "test"]
    reached = {
        state: {merge: max(min(cell.skill_protected.rate, cell.skill_partner.rate) for cell in cells
                           if (cell.state, cell.merge) == (state, merge))
                for merge in {cell.merge for cell in cells if cell.state == state}}
        for state in ("protected", "gaugefix", "unprotected")
    }  # fmt: skip
    stock = max(rate for merge, rate in reached["protected"].items() if merge != "smooth")
    assert reached["protected"]["smooth"] >= stock + 0.3
    assert reached["gaugefix"]["learn"] >= stock + 0.3
    assert result.levels[3].ruf >= 0.9 and result.levels[3].tokens > result.levels[0].tokens
