"""Prompts that begin alike: the shared beginning runs once, and every class says what it says to each prompt alone."""

import pytest
import torch
from torch import nn

import family_models
from mergebarrier.evaluate import alike_logits, next_logits

DECODERS = sorted(
    name for name, one in family_models.MODELS.items() if one.stock.endswith(("ForCausalLM", "LMHeadModel"))
)
#: Keys and values of every token; a window; a class that keeps a latent.
SOME = ("llama", "gemma2", "deepseekv2")
#: Two beginnings with strings of one and two tokens behind them, two prompts without like, one of a single token.
PROMPTS = [
    *((5, 6, 7, 8, one, 9, 10) for one in range(11, 19)),
    *((5, 6, 20, 21, one, one + 1, 9) for one in range(11, 17)),
    *((30, one) for one in range(1, 4)),
    (31, 32, 33),
    (4,),
]


def said(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    module = family_models.module(name)
    return alike_logits(module, PROMPTS), torch.cat([next_logits(module, [prompt]) for prompt in PROMPTS])


@pytest.mark.parametrize("name", SOME)
def test_what_is_said_is_what_is_said_to_each_alone(name) -> None:
    ours, alone = said(name)
    assert torch.allclose(ours, alone, atol=1e-4), (ours - alone).abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DECODERS if name not in SOME])
def test_every_other_class_says_the_same(name) -> None:
    ours, alone = said(name)
    assert torch.allclose(ours, alone, atol=1e-4), (ours - alone).abs().max()


def test_a_shared_beginning_runs_once() -> None:
    module: nn.Module = family_models.module("llama")
    seen: list[int] = []
    module.base_model.register_forward_pre_hook(
        lambda body, given, named: seen.append(named["input_ids"].numel()), with_kwargs=True
    )
    beginning = tuple(range(1, 31))
    alike_logits(module, [(0, 5), *((*beginning, one, 2) for one in range(40)), (0, 6)])
    assert seen == [1, 30, 2 * 40, 4], "one token tells what is kept; prompts of another beginning are no part of it"
