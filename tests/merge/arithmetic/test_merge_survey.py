"""TIES over the whole model: the cut is of all tensors at once, exact, and the same however it is read."""

import json
from contextlib import ExitStack

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge import make
from mergebarrier.merge.arithmetic import model_cuts

SHAPES = {"b.weight": (37, 11), "a.weight": (5,), "c.bias": (1,), "d.weight": (64, 9), "e": (0, 4)}


def models(dtype: torch.dtype, coarse: bool = False) -> list[dict[str, torch.Tensor]]:
    """Return a base and two experts whose tensors differ in scale; coarse ones tie massively."""
    generator = torch.Generator().manual_seed(4)
    base = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    experts = []
    for _ in range(2):
        steps = {
            name: torch.randn(shape, generator=generator) * (i + 1) for i, (name, shape) in enumerate(SHAPES.items())
        }
        steps = {name: step.round() * 0.25 if coarse else step * 0.1 for name, step in steps.items()}
        experts.append({name: base[name] + steps[name] for name in SHAPES})
    if coarse:
        base = {name: tensor.round() for name, tensor in base.items()}
        experts = [{name: (tensor * 4).round() / 4 for name, tensor in expert.items()} for expert in experts]
    return [{name: tensor.to(dtype) for name, tensor in model.items()} for model in (base, *experts)]


def flat(model: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in model.values()])


def expected(base, experts, parameters: dict) -> torch.Tensor:
    """Merge the models as one long tensor, whose ties stay in flat order."""
    return make("ties", **parameters).merge(flat(base), [flat(expert) for expert in experts], name="all")


def by_survey(base, experts, parameters: dict, step: int) -> torch.Tensor:
    method = make("ties", scope="model", **parameters)

    def read(name: str):
        tensors = [model[name] for model in (base, *experts)]
        for start in range(0, tensors[0].shape[0], step):
            yield [tensor[start : start + step] for tensor in tensors]

    told = method.survey({name: t.numel() for name, t in base.items() if t.numel()}, read, len(experts))
    parts = [
        method.merge(base[name], [expert[name] for expert in experts], name=name, survey=told.get(name)).reshape(-1)
        for name in base
    ]
    return torch.cat(parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize(
    "parameters",
    [
        {"density": 0.2},
        {"density": (0.5, 0.01), "weights": (0.3, 0.9)},
        {"density": (1.0, 0.3), "elect": "unweighted", "reduce": "mean"},
        {"density": (0.0, 0.7), "elect_zero": "majority", "rescale": "inverse"},
        {"density": 1e-9, "elect_zero": "majority"},
        {"density": 0.4, "arith": "input"},
    ],
)
def test_the_cut_of_a_model_is_the_cut_of_its_tensors_in_a_row(dtype, coarse, parameters) -> None:
    base, *experts = models(dtype, coarse)
    wanted = expected(base, experts, parameters)
    for step in (1, 5, 1000):
        assert torch.equal(by_survey(base, experts, parameters, step), wanted), step


def test_exactly_the_asked_share_stays() -> None:
    base, expert, _ = models(torch.bfloat16, coarse=True)
    merged = by_survey(base, [expert], {"density": 0.3}, 7)
    moved = int((flat(expert).float() - flat(base).float() != 0).sum())
    size = sum(tensor.numel() for tensor in base.values())
    assert int((merged != flat(base)).sum()) == min(moved, int(0.3 * size))


def test_files_give_the_same_through_flags_recipes_and_workers(run_cli, save, tmp_path) -> None:
    tables = [{name: tensor for name, tensor in model.items() if tensor.numel()} for model in models(torch.bfloat16)]
    folders = [save(name, table) for name, table in zip(("base", "x", "y"), tables, strict=True)]
    recipe = {
        "merge_method": "ties",
        "base_model": str(folders[0]),
        "models": [{"model": str(folder), "parameters": {"weight": 1, "density": 0.2}} for folder in folders[1:]],
        "mergebarrier": {"scope": "model"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    ways = {
        "flags": (*folders[1:], "--base", folders[0], "--method", "ties", "--density", "0.2", "--scope", "model"),
        "recipe": (tmp_path / "recipe.yaml", "--workers", "1"),
        "two": (tmp_path / "recipe.yaml", "--workers", "2"),
    }
    order = load_file(folders[0] / "model.safetensors").keys()
    base, *experts = [{name: table[name] for name in order} for table in tables]
    wanted = expected(base, experts, {"density": 0.2, "weights": (1.0, 1.0)})
    for name, words in ways.items():
        ran = run_cli("merge", *words, "-o", tmp_path / name, "--json")
        assert ran.exit_code == 0, ran.stderr
        merged = load_file(tmp_path / name / "model.safetensors")
        assert torch.equal(flat({key: merged[key] for key in order}), wanted), name
    told = run_cli("merge", tmp_path / "recipe.yaml", "--explain", "--json").json["tensors"][0]
    assert (told["need"], told["reads"], told["effective"]["scope"]) == ("global", 3, "model")
    manifest = json.loads((tmp_path / "two" / "mergebarrier.json").read_text())
    assert manifest["content"]["effective"][0]["parameters"]["scope"] == "model"


@pytest.mark.parametrize("block_elements", [1, 50, 10_000])
def test_a_file_is_read_row_by_row_whatever_the_size_of_a_block(block_elements, save) -> None:
    tables = [{name: tensor for name, tensor in model.items() if tensor.numel()} for model in models(torch.bfloat16)]
    with ExitStack() as stack:
        sources = [stack.enter_context(open_checkpoint(save(str(i), table))) for i, table in enumerate(tables)]
        for name in tables[0]:
            blocks = list(model_cuts.row_blocks(sources, name, block_elements))
            assert all(block[0].numel() <= max(block_elements, tables[0][name][0].numel()) for block in blocks)
            for read, table in zip(zip(*blocks, strict=True), tables, strict=True):
                assert torch.equal(torch.cat(read), table[name])


def test_what_has_no_meaning_over_a_model_is_refused(run_cli, save, tmp_path) -> None:
    with pytest.raises(BadMergeParameter, match="restores the norm of each tensor"):
        make("ties", scope="model", rescale="l1")
    folders = [save(name, {f"l.{i}.w": torch.ones(2, 2) for i in range(2)}) for name in ("base", "x")]
    for density in ([0.1, 0.9], [{"filter": "l.0", "value": 0.2}, {"value": 0.3}]):
        model = {"model": str(folders[1]), "parameters": {"weight": 1, "density": density}}
        recipe = {"merge_method": "ties", "base_model": str(folders[0]), "models": [model]}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "mergebarrier": {"scope": "model"}}))
        ran = run_cli("merge", tmp_path / "recipe.yaml", "-o", tmp_path / "out")
        assert ran.exit_code == 2 and "needs one density for all" in ran.stderr
