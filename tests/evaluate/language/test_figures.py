"""Scores, perplexity, comparison and barrier against references written the slow and obvious way."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadTask, BadText, ShapeMismatch
from mergebarrier.evaluate import (
    TaskRow,
    barrier_curve,
    compare,
    exact_match,
    load_module,
    load_tokenizer,
    perplexity,
    token_ids,
)
from mergebarrier.numerics import wilson
from tiny_tokenizer import WORDS

TEXT = " ".join(WORDS[(i * i + 3 * i) % 96] for i in range(700))


@pytest.fixture(params=["llama-mha-tied", "gpt2-tied", "mistral"])
def model(request, folders):
    with open_checkpoint(folders[request.param]) as checkpoint:
        return load_module(checkpoint, "float32"), load_tokenizer(checkpoint)


def greedy(module, ids: list[int], n: int) -> list[int]:
    """Continue by the most likely token, one at a time."""
    with torch.no_grad():
        for _ in range(n):
            ids = [*ids, int(module(torch.tensor([ids])).logits[0, -1].argmax())]
    return ids[-n:]


def test_exact_match_is_what_greedy_decoding_would_say(model) -> None:
    module, tokenizer = model
    rows, expected = [], []
    for i in range(23):
        prompt = [(7 * i + j) % 96 for j in range(1 + i % 5)]
        answer = greedy(module, prompt, 1 + i % 3)
        right = i % 4 != 0
        if not right:
            answer[i % len(answer)] = (answer[i % len(answer)] + 1) % 96
        rows.append(TaskRow(" ".join(WORDS[t] for t in prompt), " ".join(WORDS[t] for t in answer)))
        expected.append(right)
    score = exact_match(module, tokenizer, rows, batch_size=4)
    assert (score.correct, score.total) == (sum(expected), 23)
    assert score.rate == score.correct / 23 and (score.low, score.high) == wilson(score.correct, 23)
    assert exact_match(module, tokenizer, rows, max_items=5).correct == sum(expected[:5])
    assert exact_match(module, tokenizer, rows[::-1], batch_size=23).correct == score.correct


def test_the_loss_of_the_answers_is_that_of_single_rows(model) -> None:
    module, tokenizer = model
    rows = [TaskRow("w1 w2 w3", "w4 w5"), TaskRow("w9", "w8"), TaskRow("w7 w7 w7 w7 w7 w7", "w1 w2 w3")]
    nats, n = 0.0, 0
    for row in rows:
        prompt, answer = (tokenizer.encode(text).ids for text in (row.prompt, row.answer))
        with torch.no_grad():
            logs = module(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        nats -= sum(float(logs[len(prompt) - 1 + j, token]) for j, token in enumerate(answer))
        n += len(answer)
    score = exact_match(module, tokenizer, rows)
    assert score.nll_nats == pytest.approx(nats / n, rel=1e-5) and score.tokens == 16


def test_perplexity_is_the_mean_loss_in_windows(model) -> None:
    module, tokenizer = model
    ids = torch.tensor(tokenizer.encode(TEXT).ids[:150])
    nats, n = 0.0, 0
    with torch.no_grad():
        for start in range(0, 150, 40):
            window = ids[start : start + 40]
            logs = module(window[None]).logits[0].log_softmax(-1)
            nats -= float(logs[:-1].gather(1, window[1:, None]).sum())
            n += len(window) - 1
    measured = perplexity(module, tokenizer, TEXT, 150, window=40)
    assert measured.tokens == n == 146
    assert measured.nats_per_token == pytest.approx(nats / n, rel=1e-5)
    assert measured.perplexity == pytest.approx(math.exp(nats / n), rel=1e-4)


def test_a_broken_model_scores_nothing_and_is_never_left_out(model) -> None:
    module, tokenizer = model
    with torch.no_grad():
        next(module.parameters()).fill_(math.nan)
    score = exact_match(module, tokenizer, [TaskRow("w1", "w2"), TaskRow("w3", "w4")])
    assert score.correct == 0 and score.nll_nats == math.inf
    assert perplexity(module, tokenizer, TEXT, 64).perplexity == math.inf


def test_comparing_a_model_with_itself_gives_zero(model) -> None:
    module, tokenizer = model
    ids = token_ids(tokenizer, TEXT, 50)
    same = compare(module, module, ids)
    assert (same.max_rel_logit_error, same.kl_nats, same.top1_agreement, same.tokens) == (0.0, 0.0, 1.0, 50)


def test_comparison_agrees_with_the_definitions(folders) -> None:
    with open_checkpoint(folders["llama-mha-tied"]) as checkpoint:
        first, tokenizer = load_module(checkpoint, "float32"), load_tokenizer(checkpoint)
        second = load_module(checkpoint, "bfloat16")
    ids = token_ids(tokenizer, TEXT, 250)
    with torch.no_grad():
        a, b = (m(ids[None]).logits[0].double() for m in (first, second))
    kl = float((a.softmax(-1) * (a.log_softmax(-1) - b.log_softmax(-1))).sum(-1).mean())
    result = compare(first, second, ids)
    assert result.max_rel_logit_error == pytest.approx(float((a - b).abs().max() / a.abs().max()), rel=0.2)
    assert result.kl_nats == pytest.approx(kl, rel=0.05) and result.kl_nats > 0
    assert result.top1_agreement == pytest.approx(float((a.argmax(-1) == b.argmax(-1)).double().mean()), abs=0.02)


def test_a_model_that_says_nothing_is_infinitely_far(folders) -> None:
    with open_checkpoint(folders["llama-mha-tied"]) as checkpoint:
        first, second = load_module(checkpoint, "float32"), load_module(checkpoint, "float32")
    with torch.no_grad():
        next(second.parameters()).fill_(math.nan)
    result = compare(first, second, torch.arange(20))
    assert result.max_rel_logit_error == result.kl_nats == math.inf


def test_models_of_two_vocabularies_are_not_compared(folders, monkeypatch) -> None:
    with open_checkpoint(folders["llama-mha-tied"]) as one, open_checkpoint(folders["llama-gqa-untied"]) as two:
        first, second = load_module(one, "bfloat16"), load_module(two, "bfloat16")
    second.lm_head.weight = torch.nn.Parameter(torch.zeros(64, 48, dtype=torch.bfloat16))
    with pytest.raises(ShapeMismatch, match="96 and 64"):
        compare(first, second, torch.arange(20))


def test_rows_that_cannot_be_scored_are_refused(model) -> None:
    module, tokenizer = model
    with pytest.raises(BadTask, match="no rows"):
        exact_match(module, tokenizer, [])
    with pytest.raises(BadTask, match="row 2"):
        exact_match(module, tokenizer, [TaskRow("w1", "w1"), TaskRow("w1", " ")])
    module.config.vocab_size = 50
    with pytest.raises(BadTask, match="token id 60"):
        exact_match(module, tokenizer, [TaskRow("w1", "w60")])
    with pytest.raises(BadText, match="token id"):
        perplexity(module, tokenizer, TEXT, 64)
    with pytest.raises(BadText, match="at least 16"):
        token_ids(tokenizer, "w1 w2", 64)


def test_a_row_longer_than_the_model_is_refused(folders) -> None:
    with open_checkpoint(folders["gpt2-tied"]) as checkpoint:
        module, tokenizer = load_module(checkpoint), load_tokenizer(checkpoint)
    with pytest.raises(BadTask, match="the model reads 64"):
        exact_match(module, tokenizer, [TaskRow("w1 " * 64, "w2")])
    assert perplexity(module, tokenizer, TEXT, 200).tokens == 3 * 63 + 7


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_stays_within_bounds(counts) -> None:
    correct, total = counts
    low, high = wilson(correct, total)
    assert 0 <= low <= correct / total <= high <= 1
    assert (low > 0) == (correct > 0) and (high < 1) == (correct < total)


def test_the_interval_agrees_with_published_values() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    with pytest.raises(ValueError, match="share"):
        wilson(3, 2)


def test_the_barrier_is_the_rise_above_the_chord() -> None:
    made = barrier_curve(lambda t: 2 + t + 4 * t * (1 - t), points=11)
    assert [t for t, _ in made.curve] == pytest.approx([i / 10 for i in range(11)])
    assert made.barrier == pytest.approx(1.0) and made.instability == pytest.approx(max(n for _, n in made.curve) - 2.5)
    assert barrier_curve(lambda t: 3 - t * (1 - t)).barrier == 0.0
    assert barrier_curve(lambda t: math.nan if 0.3 < t < 0.7 else 1.0).barrier == math.inf
    assert barrier_curve(lambda t: math.nan).barrier == math.inf
    with pytest.raises(ValueError, match="2 points"):
        barrier_curve(lambda t: t, points=2)
