"""Training runs of levels 5 to 8 on a world of rules: what a learned gauge and taught merges recover."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import rule_world
from audit_stage import Memory, spec
from mergebarrier.audit.bench import TASKS, Bench, Blend, spread
from mergebarrier.audit.ladder.blocks import prepare as distil_blocks
from mergebarrier.audit.ladder.distil import distilled
from mergebarrier.audit.ladder.edits import moments
from mergebarrier.audit.ladder.rebasin import prepare
from mergebarrier.audit.ladder.recover import from_base, taught
from mergebarrier.audit.ladder.weighted import prepare as weigh
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import compare, load_module
from mergebarrier.keys import Key
from mergebarrier.protect import PROTECTIONS
from mergebarrier.verbs import OutputOptions, protect

pytestmark = pytest.mark.slow
WEIGHTS = (0.7, 0.7)


@dataclass(frozen=True)
class Rules:
    """A world of rules, its first expert protected by `exact`."""

    world: rule_world.World
    exact: Path


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    folder = tmp_path_factory.mktemp("rules")
    world = rule_world.make(folder)
    with open_checkpoint(world.original) as original:
        protect(original, PROTECTIONS["exact"](), Key(b"1" * 32), OutputOptions(folder / "exact"))
    return Rules(world, folder / "exact")


@pytest.fixture
def bench(rules: Rules, tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(
            spec(rules, tmp_path / "work", rebasin_steps=40, block_steps=60), Memory(), lambda _: None, stack, states=()
        )


def blend(bench: Bench, role: str) -> Blend:
    return bench.live.blend(*(bench.checkpoints[one] for one in ("base", role, "partner")))


def worst(bench: Bench) -> float:
    return min(bench.score_live(task).rate for task in TASKS)


def test_a_broken_merge_is_taught_by_its_parts_and_beats_as_many_honest_samples(bench: Bench) -> None:
    mix, reached = blend(bench, "protected"), {}
    mix.write(spread(WEIGHTS, mix.names))
    assert worst(bench) < 0.2
    for name, train in (("taught", taught), ("honest", from_base)):
        train(mix, bench, WEIGHTS, 1000)
        reached[name] = worst(bench)
    assert reached["taught"] >= 0.4 >= reached["honest"] + 0.2


def test_a_training_run_follows_from_the_seed(bench: Bench) -> None:
    mix, found = blend(bench, "protected"), []
    for _ in range(2):
        taught(mix, bench, WEIGHTS, 100)
        found.append([value.detach().clone() for value in bench.live.module.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_a_learned_gauge_merges_better_than_the_realigned_model_and_computes_the_same(bench: Bench) -> None:
    prepare(bench)
    lowest = {}
    for role in ("gaugefix", "rebasin"):
        mix = blend(bench, role)
        mix.write(spread((0.5, 0.5), mix.names))
        lowest[role] = bench.validation_loss()
    assert lowest["rebasin"] < 0.8 * lowest["gaugefix"]
    one, two = (load_module(bench.checkpoints[role], "float32") for role in ("protected", "rebasin"))
    same = compare(one, two, torch.arange(200) % 90)
    assert same.max_rel_logit_error < 1e-5 and same.top1_agreement == 1.0


def test_blocks_of_the_base_learn_the_protected_model_s_and_merge(bench: Bench) -> None:
    """What is inside a block cannot matter: the distilled model has the expert's skill, and merges as it does."""
    distil_blocks(bench)
    alone, losses = {}, {}
    for role in ("base", "blocks"):
        bench.live.load(bench.checkpoints[role])
        alone[role] = bench.score_live(TASKS[0]).rate
    assert alone["blocks"] >= alone["base"] + 0.3
    for role in ("protected", "blocks"):
        mix = blend(bench, role)
        mix.write(spread(WEIGHTS, mix.names))
        losses[role] = bench.validation_loss()
    assert losses["blocks"] < 0.5 * losses["protected"]


def test_distillation_into_all_weights_restores_both_skills_from_a_broken_merge(bench: Bench) -> None:
    """Small steps in all weights need more rows than large ones in adapters do, and bring both skills back."""
    mix = blend(bench, "protected")
    mix.write(spread(WEIGHTS, mix.names))
    assert worst(bench) < 0.2
    distilled(mix, bench, WEIGHTS, 4000)
    assert worst(bench) >= 0.6


def noised(bench: Bench, world: rule_world.World, out: Path, *, times: float) -> Path:
    """Write the first expert with noise of so many times its weights' size where no input excites a map."""
    bench.live.load(bench.checkpoints["original"])
    seen = moments(bench)
    shutil.copytree(world.original, out)
    tensors, draw = load_file(out / "model.safetensors"), torch.Generator().manual_seed(5)
    for name, (moment, _) in seen.items():
        if name in tensors and name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            values, vectors = torch.linalg.eigh(moment.double())
            silent = vectors[:, values < 1e-3 * values.max()].float()
            noise = torch.randn(tensors[name].shape, generator=draw) @ silent @ silent.T
            tensors[name] = tensors[name] + times * tensors[name].norm() / noise.norm() * noise
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out


def test_a_gauge_weighted_by_activations_sees_through_noise_where_no_input_is(rules: Rules, tmp_path: Path) -> None:
    """A little: even ten times the weights' size of such noise leaves the plain gauge near where it was."""
    lowest: dict[str, float] = {}
    with ExitStack() as stack:
        quiet = Bench(spec(rules, tmp_path / "quiet"), Memory(), lambda _: None, stack, states=())
        noisy = noised(quiet, rules.world, tmp_path / "noisy", times=10.0)
    with open_checkpoint(noisy) as model:
        protect(model, PROTECTIONS["exact"](profile="full"), Key(b"2" * 32), OutputOptions(tmp_path / "locked"))
    with ExitStack() as stack:
        asked = replace(spec(rules, tmp_path / "work"), protected=tmp_path / "locked", original=noisy)
        bench = Bench(asked, Memory(), lambda _: None, stack, states=())
        weigh(bench)
        for role in ("gaugefix", "weighted"):
            mix = blend(bench, role)
            mix.write(spread((0.5, 0.5), mix.names))
            lowest[role] = bench.validation_loss()
    assert lowest["weighted"] < lowest["gaugefix"]
