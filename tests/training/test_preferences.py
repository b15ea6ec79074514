"""Direct preference optimisation: what it is at the start, and what it does to both answers."""

import math

import torch

from mergebarrier.training import (
    Example,
    FullRecipe,
    Preference,
    answer_log_p,
    examples_loss,
    preference_loss,
    preferred,
    train_full,
)
from tiny_models import build

PAIRS = [Preference((1, 2, 3 + i), (4, 5), (6, 7, 8)) for i in range(4)]


def test_the_probability_of_answers_is_that_of_the_loss() -> None:
    module = build("llama-gqa-untied")
    examples = [Example((1, 2), (3, 4, 5)), Example((6,), (7,))]
    log_p = answer_log_p(module, examples)
    assert log_p.shape == (2,) and torch.allclose(-log_p.sum() / 4, examples_loss(module, examples))
    alone = torch.cat([answer_log_p(module, [one]) for one in examples])
    assert torch.allclose(log_p, alone, atol=1e-5)


def test_the_wanted_answer_becomes_likelier_than_the_other() -> None:
    module = build("llama-gqa-untied")
    before = preferred(module, PAIRS, rows=3)
    assert float(preference_loss(module, PAIRS, before).detach()) == torch.tensor(math.log(2)).item()
    recipe = FullRecipe(steps=12, learning_rate=3e-3, warmup_steps=0, weight_decay=0.0)
    losses = train_full(module, recipe, lambda step: preference_loss(module, PAIRS, before))
    assert losses[-1] < losses[0] and bool((preferred(module, PAIRS) > before).all())
