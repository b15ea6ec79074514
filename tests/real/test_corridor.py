"""The corridor from end to end on a real language model: what the README says must hold here or the test fails."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mergebarrier import verbs
from mergebarrier.checkpoint import Checkpoint, open_checkpoint
from mergebarrier.evaluate import (
    ModuleSink,
    Score,
    compare,
    exact_match,
    load_module,
    load_tokenizer,
    perplexity,
    read_task,
    read_text,
    token_ids,
)
from mergebarrier.keys import Key
from mergebarrier.merge import Merge, make, plan
from mergebarrier.protect import Exact, MergeBarrier
from mergebarrier.realign import GaugeFix
from mergebarrier.run import transform
from peer_mergekit import mergekit_merge_all

pytestmark = pytest.mark.real

#: Tokens that are read in bfloat16: without instructions for it a machine takes ten times as long as in float32.
IN_BFLOAT16 = 64
#: Tokens of prose that a perplexity is read on, and items of each task that a merge which fails is scored on.
OF_PROSE, TO_FAIL = 1024, 16
COEFFICIENTS = (0.3, 0.5, 0.7, 1.0)
#: At which the unprotected merge keeps both skills.
WORKS = 0.5
KEY = Key(bytes(range(32)))
SIX = ("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "slerp")


def method(name: str, coefficient: float) -> Merge:
    """Return a merge; for the two averages the coefficient is the share of the protected model."""
    if name == "linear":
        return make(name, weights=(coefficient, 1.0 - coefficient))
    if name == "slerp":
        return make(name, t=1.0 - coefficient)
    thinned = {} if name == "task_arithmetic" else {"density": 0.5}
    return make(name, coefficient=coefficient, **thinned)


@dataclass(frozen=True)
class Skills:
    """Scores on the held-out items of both tasks."""

    a: float
    b: float


@dataclass(frozen=True)
class Original:
    """What the expert does before it is protected, in what the machine computes in."""

    bfloat16_divergence: float
    perplexity: float
    score: Score


class Bench:
    """One live module that every merge is poured into."""

    def __init__(self, assets) -> None:
        self.assets = assets
        self.base = open_checkpoint(assets.base)
        self.tokenizer = load_tokenizer(self.base)
        self.module = load_module(self.base)
        self.rows = [read_task(task.test).rows for task in (assets.task_a, assets.task_b)]

    def skills(self, module: torch.nn.Module, items: int | None) -> Skills:
        return Skills(*(exact_match(module, self.tokenizer, rows[:items]).rate for rows in self.rows))

    def merged(self, merge: Merge, experts: list[Path], items: int | None = None) -> Skills:
        opened = [open_checkpoint(expert) for expert in experts]
        made = plan(merge, self.base, opened)
        transform(made.sources, ModuleSink(self.module), made.units, made.apply, workers=1)
        for checkpoint in opened:
            checkpoint.close()
        return self.skills(self.module, items)

    def alone(self, folder: Path, items: int | None = None) -> Skills:
        with open_checkpoint(folder) as checkpoint:
            return self.skills(load_module(checkpoint), items)


@pytest.fixture(scope="module")
def bench(assets) -> Iterator[Bench]:
    made = Bench(assets)
    yield made
    made.base.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corridor")


def protect(source: Path, protection, out: Path) -> Path:
    with open_checkpoint(source) as checkpoint:
        verbs.protect(checkpoint, protection, KEY if protection.keyed else None, verbs.OutputOptions(out))
    return out


@pytest.fixture(scope="module")
def lossless(assets, folder) -> Path:
    return protect(assets.expert_a, Exact(), folder / "lossless")


@pytest.fixture(scope="module")
def full(assets, folder) -> Path:
    return protect(assets.expert_a, Exact(profile="full"), folder / "full")


@pytest.fixture(scope="module")
def unprotected(bench, assets) -> Skills:
    return bench.merged(method("task_arithmetic", WORKS), [assets.expert_a, assets.expert_b])


def test_the_unprotected_merge_keeps_both_skills(bench, unprotected):
    assert min(len(rows) for rows in bench.rows) >= 100
    assert min(unprotected.a, unprotected.b) >= 0.8


@pytest.fixture(scope="module")
def original(bench, assets) -> Original:
    text = read_text(assets.text_test)
    with open_checkpoint(assets.expert_a) as expert:
        _, divergence = equality(expert, expert, ("float32", "bfloat16"), token_ids(bench.tokenizer, text, IN_BFLOAT16))
        module = load_module(expert)
    score = exact_match(module, bench.tokenizer, bench.rows[0])
    return Original(divergence, perplexity(module, bench.tokenizer, text, OF_PROSE).perplexity, score)


def equality(first: Checkpoint, second: Checkpoint, dtypes: tuple[str, str], ids) -> tuple[float, float]:
    result = compare(load_module(first, dtypes[0]), load_module(second, dtypes[1]), ids)
    return result.max_rel_logit_error, result.kl_nats


def test_lossless_is_the_same_function_and_comes_back_bit_for_bit(bench, assets, lossless, folder):
    ids = token_ids(bench.tokenizer, read_text(assets.text_test), 512)
    with open_checkpoint(assets.expert_a) as ours, open_checkpoint(lossless) as theirs:
        error, _ = equality(ours, theirs, ("float32", "float32"), ids)
        assert error <= 5e-6
        verbs.unprotect(theirs, KEY, verbs.OutputOptions(folder / "restored"))
        with open_checkpoint(folder / "restored") as restored:
            assert restored.digests() == ours.digests()


@pytest.mark.slow
def test_lossless_is_as_good_a_model(bench, assets, original, lossless):
    text = read_text(assets.text_test)
    with open_checkpoint(assets.expert_a) as ours, open_checkpoint(lossless) as theirs:
        assert_as_good(bench, original, ours, theirs, text, token_ids(bench.tokenizer, text, IN_BFLOAT16))


def assert_as_good(bench, original, ours, theirs, text, ids) -> None:
    """No worse than the noise of bfloat16 arithmetic, and as good a model in what the machine computes in."""
    _, moved = equality(ours, theirs, ("bfloat16", "bfloat16"), ids)
    assert moved <= 3 * original.bfloat16_divergence
    module = load_module(theirs)
    assert abs(perplexity(module, bench.tokenizer, text, OF_PROSE).perplexity / original.perplexity - 1) <= 0.003
    assert original.score.low <= exact_match(module, bench.tokenizer, bench.rows[0]).rate <= original.score.high


@pytest.mark.slow
def test_full_is_the_same_function_and_comes_back_within_its_bound(bench, assets, original, full, folder):
    text = read_text(assets.text_test)
    ids = token_ids(bench.tokenizer, text, 512)
    with open_checkpoint(assets.expert_a) as ours, open_checkpoint(full) as theirs:
        assert_as_good(bench, original, ours, theirs, text, ids[:IN_BFLOAT16])
    wide = folder / "expert-float32"
    wide.mkdir()
    tensors = load_file(assets.expert_a / "model.safetensors")
    save_file({name: tensor.float() for name, tensor in tensors.items()}, wide / "model.safetensors", {"format": "pt"})
    config = json.loads((assets.expert_a / "config.json").read_text()) | {"dtype": "float32"}
    (wide / "config.json").write_text(json.dumps(config))
    protected = protect(wide, Exact(profile="full"), folder / "full-float32")
    with open_checkpoint(wide) as ours, open_checkpoint(protected) as theirs:
        error, _ = equality(ours, theirs, ("float32", "float32"), ids)
        assert error <= 1e-5
        content = verbs.unprotect(theirs, KEY, verbs.OutputOptions(folder / "full-restored"))
    restored = load_file(folder / "full-restored" / "model.safetensors")
    worst = max(float((restored[n].double() - t.double()).norm() / t.double().norm()) for n, t in tensors.items())
    assert 0 < worst <= content["roundtrip_bound"]


@pytest.mark.slow
def test_flips_are_bit_exact_and_coefficient_one_is_reported_as_what_it_is(bench, assets, folder, record_property):
    flipped = protect(assets.expert_a, MergeBarrier(), folder / "flipped")
    ids = token_ids(bench.tokenizer, read_text(assets.text_test), 256)
    with open_checkpoint(assets.expert_a) as ours, open_checkpoint(flipped) as theirs:
        for dtype in ("float32", "bfloat16"):
            assert equality(ours, theirs, (dtype, dtype), ids) == (0.0, 0.0)
    half = bench.merged(method("task_arithmetic", 0.5), [flipped, assets.expert_b])
    one = bench.merged(method("task_arithmetic", 1.0), [flipped, assets.expert_b])
    record_property("flips_at_coefficient_one", (one.a, one.b))
    assert half.a < 0.5 and half.b < 0.5, "attention alone stops averaging"
    assert one.a > 0.5 and one.b > 0.3, "and does not stop adding a task vector: the hole must stay visible"


@pytest.mark.parametrize("name", ["linear", "task_arithmetic", "ties", "slerp"])
def test_naive_merging_of_the_protected_expert_collapses(name, bench, assets, lossless, unprotected):
    # The full grid of methods and coefficients is in the slow test below: one cell here is seconds, not minutes.
    skills = bench.merged(method(name, WORKS), [lossless, assets.expert_b], TO_FAIL)
    assert skills.a < unprotected.a / 2 or skills.b < unprotected.b / 2


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["lossless", "full"])
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
@pytest.mark.parametrize("name", SIX)
def test_no_setting_of_six_algorithms_merges_either_profile(
    name, coefficient, profile, request, bench, assets, unprotected
):
    protected = request.getfixturevalue(profile)
    skills = bench.merged(method(name, coefficient), [protected, assets.expert_b])
    assert skills.a < unprotected.a / 2 or skills.b < unprotected.b / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "ties"])
def test_the_real_mergekit_collapses_alike(name, bench, assets, lossless, folder, unprotected):
    def recipe(expert: Path, name: str, **parameters: object) -> dict[str, object]:
        models = [
            {"model": str(side), "parameters": {"weight": WORKS, **parameters}} for side in (expert, assets.expert_b)
        ]
        base = {} if name == "linear" else {"base_model": str(assets.base)}
        return {"merge_method": name, "models": models, "dtype": "bfloat16", **base}

    control, out = folder / f"control-{name}", folder / f"mergekit-{name}"
    thinned = {"density": 0.5} if name == "ties" else {}
    mergekit_merge_all([(recipe(assets.expert_a, "linear"), control), (recipe(lossless, name, **thinned), out)])
    works, fails = bench.alone(control), bench.alone(out, TO_FAIL)
    assert abs(works.a - unprotected.a) <= 0.1 and abs(works.b - unprotected.b) <= 0.1
    assert fails.a < 0.2 and fails.b < 0.2, fails


def test_realignment_recovers_the_merge_whatever_the_key(bench, assets, lossless, full, folder, unprotected):
    for name, protected in (("lossless", lossless), ("full", full)):
        with open_checkpoint(protected) as model, open_checkpoint(assets.base) as base:
            out = verbs.OutputOptions(folder / f"realigned-{name}", workers=2)
            _, diagnostics = verbs.realign(model, base, GaugeFix(), out)
        assert diagnostics["mean_cosine_after"] > 0.99 and diagnostics["converged"]
    with open_checkpoint(assets.expert_a) as ours, open_checkpoint(folder / "realigned-lossless") as theirs:
        assert ours.digests() == theirs.digests(), "an exact key is undone to the last bit, and so is its merge"
    skills = bench.merged(method("task_arithmetic", WORKS), [folder / "realigned-full", assets.expert_b])
    assert min(skills.a, skills.b) >= 0.9 * min(unprotected.a, unprotected.b)
