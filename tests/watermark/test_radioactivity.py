"""Radioactivity: uniform for whoever did not learn, tiny for the sampler's own text, and a service that can be run."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from scipy.stats import kstest

from mergebarrier.errors import UsageError
from mergebarrier.evaluate import sampler_processor
from mergebarrier.keys import Key
from mergebarrier.numerics import LEAST_TAIL
from mergebarrier.watermark import SAMPLED, RadioactivityTest, SamplingKey, radioactivity_test
from tiny_models import save
from tiny_tokenizer import add_tokenizer

VOCABULARY = 40


def owner(scheme: str, number: int = 0) -> SamplingKey:
    """Return one of many keys."""
    return SamplingKey(key=Key(hashlib.sha256(b"%d" % number).digest()), scheme=scheme)


def processor_of(key: SamplingKey):
    return sampler_processor(key.scheme, key.numbers(), VOCABULARY)


def drawn(key: SamplingKey, texts: int, *, marked: bool, seed: int = 0) -> list[list[int]]:
    """Texts of a uniform model, drawn through the processor of transformers or without it."""
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (texts, 1), generator=chance)
    processor = processor_of(key)
    for _ in range(11):
        scores = torch.zeros(texts, VOCABULARY)
        scores = processor(ids, scores) if marked else scores
        ids = torch.cat([ids, torch.multinomial(scores.softmax(-1), 1, generator=chance)], dim=1)
    return ids.tolist()


def judged(key: SamplingKey, texts: list[list[int]], decoys: int = 0) -> RadioactivityTest:
    return radioactivity_test(texts, texts, key, vocabulary=VOCABULARY, processor=processor_of, decoys=decoys)


@pytest.mark.parametrize("scheme", SAMPLED)
def test_text_of_the_sampler_leans_and_other_text_does_not(scheme: str) -> None:
    key = owner(scheme)
    marked = judged(key, drawn(key, 60, marked=True), decoys=19)
    assert marked.p == marked.p_decoys == 0.05 and marked.p_binomial == LEAST_TAIL and marked.effect is not None
    assert marked.effect > 4 and marked.score > marked.null_mean == pytest.approx(key.rate(VOCABULARY), abs=0.03)
    plain = judged(key, drawn(key, 60, marked=False), decoys=19)
    assert plain.p > 0.05


def test_p_is_uniform_under_keys_that_nobody_used() -> None:
    text = drawn(owner("green"), 30, marked=False)
    found = [judged(owner("green", number), text).p for number in range(1, 61)]
    assert kstest(found, "uniform").pvalue > 0.01 and sum(p <= 0.05 for p in found) <= 9


def test_fresh_keys_are_uniform_where_the_binomial_is_not() -> None:
    """The bits of SynthID are read from a small table, so the binomial tail is no null and fresh keys must be."""
    text = drawn(owner("synthid"), 60, marked=False)
    found = [judged(owner("synthid", number), text, decoys=19).p_decoys for number in range(1, 41)]
    assert kstest(found, "uniform").pvalue > 0.001 and sum(p <= 0.05 for p in found) <= 6


def test_what_follows_token_zero_does_not_count() -> None:
    """The list of token 0 is the same under every key, so it would accuse by chance."""
    first, second = (processor_of(owner("green", number)) for number in (1, 2))
    scores = torch.zeros(1, VOCABULARY)
    assert torch.equal(first(torch.tensor([[0]]), scores), second(torch.tensor([[0]]), scores))
    assert not torch.equal(first(torch.tensor([[1]]), scores), second(torch.tensor([[1]]), scores))
    assert owner("green").judged(torch.tensor([[0, 3], [3, 0]]), VOCABULARY).tolist() == [[3, 0]]


@pytest.mark.parametrize("scheme", SAMPLED)
def test_tokens_that_the_model_has_no_row_for_do_not_count(scheme: str) -> None:
    key = owner(scheme)
    text = drawn(key, 60, marked=False)
    odd = [[*row, VOCABULARY + 7, *row] for row in text]
    assert judged(key, [*text, *odd]).ngrams == judged(key, text).ngrams


def test_repeated_text_counts_once_and_too_little_is_refused() -> None:
    key = owner("green")
    text = drawn(key, 60, marked=True)
    assert judged(key, text * 5).ngrams == judged(key, text).ngrams
    with pytest.raises(UsageError, match="100 are needed"):
        judged(key, text[:3])


@pytest.mark.parametrize("scheme", SAMPLED)
def test_a_service_is_run_and_its_own_answers_are_found(scheme: str, tmp_path: Path, run_cli) -> None:
    model = add_tokenizer(save("gpt2-tied", tmp_path / "model"))
    queries = tmp_path / "queries.jsonl"
    queries.write_text("".join(json.dumps({"query": f"the number {number}"}) + "\n" for number in range(16)))
    shield = (
        "watermark", "shield", queries, model, "--ledger", tmp_path / "l.jsonl", "--key", tmp_path / "k.mbkey",
        "--mode", scheme, "--max-tokens", "16",
    )  # fmt: skip
    ran = run_cli(*shield)
    assert ran.exit_code == 0 and "commitment" in ran.stdout and "words" not in ran.stdout
    rows = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()[1:]]
    (tmp_path / "own.jsonl").write_text(
        "".join(json.dumps({"query": row["query"], "answer": row["answer"]}) + "\n" for row in rows)
    )
    verify = (
        "watermark", "radioactivity", tmp_path / "l.jsonl", "--suspect", tmp_path / "own.jsonl", "--service", model,
        "--key", tmp_path / "k.mbkey", "--decoys", "19", "--level", "0.05",
    )  # fmt: skip
    ran = run_cli(*verify)
    assert ran.exit_code == 1 and "leans the way of the service's key: p = 0.05" in ran.stdout
    alone = run_cli(*verify, "--decoys", "0")
    assert alone.exit_code == (64 if scheme == "synthid" else 1), "the bits of SynthID have no other null"
    refused = run_cli("watermark", "verify", tmp_path / "l.jsonl", "--suspect", tmp_path / "own.jsonl")
    assert refused.exit_code == 64 and "watermark radioactivity" in refused.stderr
    served = run_cli(*shield[:3], "http://127.0.0.1:1/v1", *shield[4:])
    assert served.exit_code == 64 and "a server draws its own tokens" in served.stderr
