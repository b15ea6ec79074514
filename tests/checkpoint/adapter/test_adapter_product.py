"""Merging adapters: the product space is what the algebra says, and what peft's exact forms say."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from mergebarrier.checkpoint import AdaptedCheckpoint, Adapter, open_adapter, open_checkpoint
from mergebarrier.errors import BadAdapter, BadMergeParameter, ShapeMismatch
from mergebarrier.merge import MERGES, make
from mergebarrier.merge.adapters.adapters import NOT_ON_UPDATES, plan_adapters
from peft_adapters import adapted_twice, save_adapter, updates_of
from tiny_models import save

NAME = "llama-gqa-untied"
SETTINGS: dict[str, dict[str, Any]] = {
    "a": {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "up_proj"]},
    "b": {"r": 5, "use_rslora": True, "target_modules": ["up_proj", "o_proj"], "rank_pattern": {"o_proj": 2}},
    "c": {"r": 3, "lora_alpha": 9, "target_modules": ["q_proj", "up_proj"]},
    "conv": {"r": 2, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
    "conv2": {"r": 3, "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True},
}
NEEDS = {"slerp": {"t": 0.3}, "nearswap": {"t": 0.01}, "wudi": {"steps": 5}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("product")
    for i, (name, config) in enumerate(SETTINGS.items()):
        save_adapter(root / name, "gpt2-tied" if "conv" in name else NAME, i, **config)
    save(NAME, root / "base", dtype=torch.float64)
    return root


@pytest.fixture
def opened(world: Path):
    """``opened("a", "b")`` opens adapters until the test ends."""
    with ExitStack() as stack:
        yield lambda *names: [stack.enter_context(open_adapter(world / name)) for name in names]


def update(adapter: Adapter, module: str) -> torch.Tensor | float:
    if module not in adapter.factors:
        return 0.0
    b, a = adapter.read(module)
    return adapter.factors[module].scale * (b @ a)


def result(plan: Any, module: str) -> tuple[torch.Tensor, Any]:
    """B A of a merged module, and its norms."""
    tensors, measured = plan.merge(module)
    a, b = tensors.values()
    return b.double() @ a.double(), measured


def constant(name: str, **parameters: Any) -> Callable[[str], Any]:
    method = make(name, **parameters)
    return lambda tensor: method


def test_a_sum_is_exact_factored_and_of_the_sum_of_the_ranks(opened) -> None:
    adapters = opened("a", "b", "c")
    plan = plan_adapters(adapters, constant("task_arithmetic", weights=(0.5, -1.0, 2.0), coefficient=0.7))
    assert sorted(plan.modules) == sorted(set().union(*(adapter.factors for adapter in adapters)))
    for name, module in plan.modules.items():
        wanted = sum(0.7 * w * update(adapter, name) for w, adapter in zip((0.5, -1.0, 2.0), adapters, strict=True))
        got, measured = result(plan, name)
        assert module.rank == sum(adapter.factors[name].rank for adapter in adapters if name in adapter.factors)
        assert (got - wanted).norm() <= 2**-23 * wanted.norm()
        assert measured.update == pytest.approx(float(wanted.norm()), rel=1e-9)
        assert measured.residual <= 2**-23 * measured.update and measured.crossed == 0


def test_a_mean_counts_an_adapter_that_leaves_a_module_alone(opened) -> None:
    adapters = opened("a", "b")
    plan = plan_adapters(adapters, constant("linear", weights=(1.0, 3.0)))
    for name in plan.modules:
        wanted = 0.25 * update(adapters[0], name) + 0.75 * update(adapters[1], name)
        torch.testing.assert_close(result(plan, name)[0], wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rank", [1, 3, 6, 8, 100])
def test_a_cut_is_the_best_of_its_rank_and_says_what_it_misses(rank: int, opened) -> None:
    adapters = opened("a", "b", "c")
    plan = plan_adapters(adapters, constant("task_arithmetic"), rank=rank)
    for name, module in plan.modules.items():
        wanted = sum(update(adapter, name) for adapter in adapters)
        values = torch.linalg.svdvals(wanted)
        got, measured = result(plan, name)
        assert module.rank <= rank
        missed = float(values[rank:].square().sum().sqrt())
        assert float((got - wanted).norm()) == pytest.approx(missed, rel=1e-5, abs=1e-6 * float(wanted.norm()))
        assert measured.residual == pytest.approx(float((got - wanted).norm()), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", sorted(set(MERGES) - set(NOT_ON_UPDATES)))
def test_every_method_merges_updates_as_it_merges_task_vectors(name: str, opened, world) -> None:
    """On a base in float64: merged model - base = merged update, for methods that see task vectors alone."""
    parameters = NEEDS.get(name, {}) | ({"density": 0.4} if hasattr(MERGES[name], "density") else {})
    parameters |= {"task_vectors": True} if hasattr(MERGES[name], "task_vectors") else {}
    method = make(name, **parameters)
    adapters = opened("a", "c")[: method.max_experts]
    plan = plan_adapters(adapters, lambda tensor: method, rank=72)
    module = "model.layers.1.mlp.up_proj"
    with open_checkpoint(world / "base") as base:
        experts = [AdaptedCheckpoint(base, adapter).read(f"{module}.weight") for adapter in adapters]
        whole = method.merge(base.read(f"{module}.weight"), experts, name=f"{module}.weight")
        wanted = whole - base.read(f"{module}.weight")
    got, measured = result(plan, module)
    assert measured.residual <= 1e-6 * measured.update
    same = float((got - wanted).norm() / wanted.norm())
    on_updates = not method.uses_base and name not in ("linear", "passthrough")
    assert bool(plan.notes) == on_updates, "whoever is told nothing gets the merge of the models"
    assert on_updates or same < 1e-5, same


def test_a_cut_of_the_whole_model_is_one_of_all_modules(opened) -> None:
    adapters = opened("a", "b")
    plan = plan_adapters(adapters, constant("ties", density=0.2, scope="model"), rank=72).surveyed()
    updates = {}
    for name, module in plan.modules.items():
        updates[name] = [torch.zeros(module.first.shape) + update(adapter, name) for adapter in adapters]
    flat = [torch.cat([pair[i].abs().reshape(-1) for pair in updates.values()]) for i in range(2)]
    cuts = [values.sort(descending=True).values[int(0.2 * len(values)) - 1] for values in flat]
    for name, pair in updates.items():
        thinned = [tensor * (tensor.abs() >= cut) for tensor, cut in zip(pair, cuts, strict=True)]
        wanted = make("ties").merge(torch.zeros_like(pair[0]), thinned, name=name)
        got, _ = result(plan, name)
        assert float((got - wanted).norm()) <= 1e-5 * float(wanted.norm()), name
    assert plan.notes == ("ties: the model that is cut at once is all modules that have adapters",)


def test_conv1d_updates_are_merged_as_out_by_in(opened) -> None:
    adapters = opened("conv", "conv2")
    plan = plan_adapters(adapters, constant("ties", density=0.5), rank=48)
    name = "transformer.h.0.attn.c_attn"
    updates = [update(adapter, name) for adapter in adapters]
    wanted = make("ties", density=0.5).merge(torch.zeros_like(updates[0]), updates, name=f"{name}.weight")
    got, measured = result(plan, name)
    assert got.shape == (144, 48) and measured.residual <= 1e-6 * measured.update
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert plan.config["fan_in_fan_out"] is True


PEFT = {
    "cat": ("product", "task_arithmetic", {"weights": (0.6, -0.4)}, {}),
    "svd": ("product", "task_arithmetic", {"weights": (0.6, -0.4)}, {"svd_rank": 4}),
    "ties_svd": ("product", "ties", {"elect": "unweighted", "reduce": "mean"}, {"svd_rank": 40, "density": 0.5}),
    "linear": ("factor", "task_arithmetic", {"weights": (0.6, -0.4)}, {}),
    "ties": ("factor", "ties", {"elect": "unweighted", "reduce": "mean"}, {"density": 0.5}),
}


@pytest.mark.parametrize("form", PEFT)
def test_our_forms_are_those_of_peft(form: str, opened, world) -> None:
    space, method, parameters, theirs = PEFT[form]
    weights = parameters.get("weights", (0.6, 0.4))
    density = {"density": theirs["density"]} if "density" in theirs else {}
    plan = plan_adapters(
        opened("a", "c"),
        constant(method, **{"weights": weights} | parameters | density),
        space=space,
        rank=theirs.get("svd_rank"),
    )
    wanted = updates_of(adapted_twice(NAME, world / "a", world / "c", weights, form, **theirs))
    assert wanted.keys() == plan.modules.keys()
    for name, tensor in wanted.items():
        got, measured = result(plan, name)
        assert float((got - tensor).norm() / tensor.norm()) < 1e-5, name
        assert (measured.crossed > 0.01 * measured.update) == (space == "factor")


def test_the_cross_terms_are_measured(opened) -> None:
    adapters = opened("a", "c")
    plan = plan_adapters(adapters, constant("linear"), space="factor")
    name = "model.layers.0.mlp.up_proj"
    (b1, a1), (b2, a2) = (adapter.read(name) for adapter in adapters)
    s1, s2 = (adapter.factors[name].scale for adapter in adapters)
    wanted = (0.5 * s1 * 0.5 * s2) ** 0.5 * (b1 @ a2 + b2 @ a1)
    _, measured = result(plan, name)
    assert measured.crossed == pytest.approx(float(wanted.norm()), rel=1e-6)
    assert measured.update == pytest.approx(float((0.5 * s1 * b1 @ a1 + 0.5 * s2 * b2 @ a2).norm()), rel=1e-6)


def test_what_cannot_be_merged_is_refused(opened, world, tmp_path) -> None:
    a, b, c, conv = opened("a", "b", "c", "conv")
    with pytest.raises(BadMergeParameter, match="one rank; the ranks are"):
        plan_adapters([a, b], constant("linear"), space="factor")
    with pytest.raises(BadMergeParameter, match="keeps the rank"):
        plan_adapters([a, c], constant("linear"), space="factor", rank=3)
    with pytest.raises(BadMergeParameter, match="no model-wide cut"):
        plan_adapters([a, c], constant("ties", scope="model"), space="factor")
    with pytest.raises(BadMergeParameter, match="cannot merge the factors A and B separately"):
        plan_adapters([a, c], constant("karcher"), space="factor")
    with pytest.raises(BadMergeParameter, match=r"arcee_fusion.*no meaning"):
        plan_adapters([a], constant("arcee_fusion"))
    with pytest.raises(BadMergeParameter, match="got 1 experts"):
        plan_adapters([a], constant("slerp", t=0.5))
    with pytest.raises(BadAdapter, match="fan_in_fan_out"):
        plan_adapters([a, conv], constant("linear"))
    save_adapter(tmp_path / "small", "llama-mha-tied", r=3, target_modules=["q_proj"])
    with open_adapter(tmp_path / "small") as other, pytest.raises(ShapeMismatch, match=r"\(48, 48\).*\(72, 48\)"):
        plan_adapters([a, other], constant("linear"))
    with open_checkpoint(world / "base") as base, open_adapter(tmp_path / "small") as other:
        with pytest.raises(BadAdapter, match="q_proj"):
            plan_adapters([other], constant("linear"), base=base)


def test_adapters_that_name_other_bases_are_refused(world, tmp_path) -> None:
    folders = []
    for name in ("org/One", "elsewhere/one/", "org/two", None):
        folder = save_adapter(tmp_path / str(len(folders)), NAME, 1, **SETTINGS["a"])
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": name}))
        folders.append(folder)
    with ExitStack() as stack:
        one, same, two, silent = (stack.enter_context(open_adapter(folder)) for folder in folders)
        assert plan_adapters([one, same, silent], constant("linear")).config["base_model_name_or_path"] is None
        assert plan_adapters([one, silent], constant("linear")).config["base_model_name_or_path"] == "org/One"
        with pytest.raises(BadAdapter, match="trained on org/two, 0 on org/One"):
            plan_adapters([one, two], constant("linear"))
