"""What is asked from outside is what the model says inside, and a budget is a budget."""

import pytest
import torch

import tiny_vision
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadText, LimitExceeded
from mergebarrier.evaluate import (
    Budget,
    EncoderPredictor,
    ModuleSuspect,
    Predictor,
    Suspect,
    image_logits,
    load_encoder,
    load_module,
    load_tokenizer,
    pixels,
)
from tiny_tokenizer import WORDS


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    with open_checkpoint(tiny_vision.save("glyph", tmp_path_factory.mktemp("seen") / "base")) as checkpoint:
        encoder = load_encoder(checkpoint)
    pictures = tiny_vision.pictures(7, 1)
    width = encoder(pixels(pictures[:1])).shape[-1]
    head = torch.nn.functional.normalize(torch.randn(4, width, generator=torch.Generator().manual_seed(0)), dim=1)
    return encoder, head, pictures


def test_probabilities_are_those_of_the_encoder_in_any_batch(seen) -> None:
    encoder, head, pictures = seen
    asked: Predictor = EncoderPredictor(encoder, head, 20.0, batch=3)
    with torch.no_grad():
        expected = image_logits(encoder(pixels(pictures)), head, 20.0).softmax(-1)
    assert torch.allclose(asked.predict_proba(pictures), expected, atol=1e-6)
    assert torch.equal(asked.predict_proba(pictures), asked.predict_proba(pixels(pictures)))
    assert asked.queries_left is None


def test_a_spent_budget_answers_nothing_and_takes_nothing(seen) -> None:
    encoder, head, pictures = seen
    budget = Budget(10)
    one, other = (EncoderPredictor(encoder, head, 20.0, budget=budget) for _ in range(2))
    assert len(one.predict_proba(pictures)) == 7 and other.queries_left == 3
    with pytest.raises(LimitExceeded, match="7 queries asked for, 3 are left"):
        other.predict_proba(pictures)
    assert len(other.predict_proba(pictures[:3])) == 3 and one.queries_left == 0


@pytest.mark.parametrize("name", ["llama-mha-tied", "gpt2-tied"])
def test_answers_are_the_greedy_continuation(folders, name: str) -> None:
    with open_checkpoint(folders[name]) as checkpoint:
        module, tokenizer = load_module(checkpoint, "float32"), load_tokenizer(checkpoint)
    prompts = [" ".join(WORDS[3:9]), WORDS[50]]
    suspect: Suspect = ModuleSuspect(module, tokenizer)
    expected = []
    for prompt in prompts:
        ids = tokenizer.encode(prompt).ids
        for _ in range(5):
            with torch.no_grad():
                ids = [*ids, int(module(torch.tensor([ids])).logits[0, -1].argmax())]
        expected.append(ids[-5:])
    assert suspect.answers(prompts, max_tokens=5) == [tokenizer.decode(ids) for ids in expected]
    ended = ModuleSuspect(module, tokenizer, ends=[expected[0][0]])
    assert ended.answers(prompts[:1], max_tokens=5) == [""]
    with pytest.raises(BadText, match="before it answers"):
        suspect.answers([" ".join([WORDS[1]] * 4000)], max_tokens=1)
