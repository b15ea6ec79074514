"""One training loop: it learns, it repeats itself to the bit, and it leaves nothing behind."""

import math
from itertools import pairwise

import pytest
import torch

import tiny_models
from mergebarrier.errors import BadTask, BadText
from mergebarrier.training import Example, LoraRecipe, train_lora

TEXTS = torch.arange(60).view(6, 10)
EXAMPLES = [Example((i, 60 + i % 7, 70), (80 + i % 4,)) for i in range(24)]
RECIPE = LoraRecipe(steps=12, batch_size=8, learning_rate=2e-2)
GPT2_TARGETS = ("c_attn", "c_proj", "c_fc")


def build(name: str = "llama-gqa-untied", dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    return tiny_models.build(name).to(dtype)


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


@pytest.mark.parametrize(
    ("name", "dtype", "targets"),
    [
        ("llama-gqa-untied", torch.float32, RECIPE.targets),
        ("llama-mha-tied", torch.bfloat16, RECIPE.targets),
        ("gpt2-tied", torch.float32, GPT2_TARGETS),
    ],
)
def test_an_expert_learns_its_answers_and_only_linear_maps_move(name, dtype, targets) -> None:
    module = build(name, dtype)
    before = weights(module)
    recipe = LoraRecipe(steps=40, learning_rate=2e-2, targets=targets, kl_weight=0.1)
    training = train_lora(module, EXAMPLES, TEXTS, recipe)
    losses = [answer for answer, _ in training.losses]
    assert len(losses) == 40 and sum(losses[-5:]) < 0.5 * sum(losses[:5])
    after = weights(module)
    assert list(after) == list(before), "no adapter stays behind"
    moved = [path for path in before if not torch.equal(before[path], after[path])]
    assert moved and all(path.removesuffix(".weight").endswith(targets) for path in moved)
    norm = math.sqrt(sum(float((after[p].float() - before[p].float()).square().sum()) for p in moved))
    assert training.task_vector_norm == pytest.approx(norm, rel=1e-4)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())
    assert {parameter.dtype for parameter in module.parameters()} == {dtype}


def test_what_was_trained_is_what_is_stored() -> None:
    """The folded weights answer as the adapters did: the last loss, seen again without any adapter."""
    module = build()
    recipe = LoraRecipe(steps=60, learning_rate=2e-2, batch_size=24, kl_weight=0.0)
    training = train_lora(module, EXAMPLES, TEXTS, recipe)
    with torch.no_grad():
        logits = module(torch.tensor([example.prompt for example in EXAMPLES])).logits[:, -1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([example.answer[0] for example in EXAMPLES]))
    assert float(loss) == pytest.approx(training.losses[-1][0], rel=0.2, abs=0.02)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    results = []
    for seed, noise in ((3, 1), (3, 2), (4, 1)):
        torch.manual_seed(noise)
        module = build()
        train_lora(module, EXAMPLES, TEXTS, LoraRecipe(steps=4, seed=seed))
        results.append(weights(module))
    first, again, other = results
    assert all(torch.equal(first[path], again[path]) for path in first)
    assert any(not torch.equal(first[path], other[path]) for path in first)


def test_the_global_random_state_is_neither_read_nor_moved() -> None:
    module = build()
    state = torch.get_rng_state()
    train_lora(module, EXAMPLES, TEXTS, RECIPE)
    assert torch.equal(state, torch.get_rng_state())


def test_packing_changes_nothing(monkeypatch) -> None:
    """The first loss of a packed step is that of the single sequences, whatever stands beside them."""
    module = build()
    with torch.no_grad():
        nats = []
        for example in EXAMPLES:
            ids = torch.tensor([[*example.prompt, *example.answer]])
            logs = module(ids).logits[0].log_softmax(-1)
            nats += [-float(logs[len(example.prompt) - 1 + j, token]) for j, token in enumerate(example.answer)]
    recipe = LoraRecipe(steps=1, batch_size=len(EXAMPLES))
    training = train_lora(module, EXAMPLES, TEXTS, recipe)
    answer, kl = training.losses[0]
    assert answer == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert kl == pytest.approx(0.0, abs=1e-6), "before the first step the expert is the base"


def test_the_kl_term_holds_the_expert_to_the_base() -> None:
    drift = []
    for weight in (0.01, 3.0):
        module = build()
        training = train_lora(module, EXAMPLES, TEXTS, LoraRecipe(steps=30, learning_rate=1e-2, kl_weight=weight))
        drift.append(sum(kl for _, kl in training.losses[-6:]))
    assert drift[1] < 0.5 * drift[0]


def test_the_rate_rises_holds_and_falls() -> None:
    recipe = LoraRecipe(steps=20, warmup_steps=4, learning_rate=1.0)
    rates = [recipe.rate(step) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and rates[4:10] == [1.0] * 6
    assert all(a > b for a, b in pairwise(rates[9:19])) and rates[-1] == pytest.approx(0.1)


def test_progress_is_told_step_by_step() -> None:
    seen = []
    train_lora(build(), EXAMPLES, TEXTS, LoraRecipe(steps=3), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 0},
        {"steps": 0},
        {"batch_size": 0},
        {"kl_rows": 0},
        {"learning_rate": 0.0},
        {"alpha": -1.0},
        {"kl_weight": -0.1},
        {"seed": -1},
        {"targets": ()},
        {"warmup_steps": -1},
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LoraRecipe(**wrong)


def test_nothing_to_learn_and_nothing_to_hold_on_to_are_refused() -> None:
    with pytest.raises(BadTask):
        train_lora(build(), [], TEXTS, RECIPE)
    with pytest.raises(BadTask):
        train_lora(build(), [Example((1,), ())], TEXTS, RECIPE)
    with pytest.raises(BadText, match="1 rows"):
        train_lora(build(), EXAMPLES, TEXTS[:1], RECIPE)


def test_a_failure_on_the_way_takes_the_adapters_out_again() -> None:
    module = build()
    before = weights(module)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_lora(module, EXAMPLES, TEXTS, RECIPE, progress=stop)
    after = weights(module)
    assert list(after) == list(before) and all(torch.equal(before[path], after[path]) for path in before)
