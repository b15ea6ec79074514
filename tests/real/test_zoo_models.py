"""The zoo's real model, corpus and experts are what their descriptions say."""

import json
import re
import time

import pytest
import torch

from mergebarrier import zoo
from mergebarrier.checkpoint import open_checkpoint, verify_manifest
from mergebarrier.evaluate import (
    compute_dtype,
    exact_match,
    load_module,
    load_tokenizer,
    perplexity,
    read_task,
    read_text,
)

pytestmark = pytest.mark.real

DICKENS = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it "
    "was the epoch of belief, it was the epoch of incredulity, it was the season of Light."
)


@pytest.fixture(scope="module")
def base(assets):
    with open_checkpoint(assets.base) as checkpoint:
        yield checkpoint


@pytest.fixture(scope="module")
def module(base):
    return load_module(base)


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_tokenizer(base)


def test_the_base_is_a_clean_folder(assets, base) -> None:
    assert sum(info.numel for info in base.tensors.values()) == 134_515_008 and len(base.tensors) == 272
    assert {info.dtype for info in base.tensors.values()} == {"BF16"}
    assert base.config["rms_norm_eps"] == 1e-05 and base.config["tie_word_embeddings"] is True
    text = (assets.base / "config.json").read_text()
    assert not re.search("quantization|name_or_path|Smollm2|9.99999", text)
    for folder in (assets.base, assets.expert_a, assets.expert_b):
        assert verify_manifest(folder) == []
        assert str(assets.base.parents[2]) not in (folder / "mergebarrier.json").read_text(), "no path of this machine"


def test_stock_software_loads_it_and_computes_the_same(assets, module, tokenizer) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = getattr(torch, compute_dtype())
    stock = AutoModelForCausalLM.from_pretrained(assets.base, dtype=dtype, local_files_only=True).eval()
    stock_tokenizer = AutoTokenizer.from_pretrained(assets.base, local_files_only=True)
    ids = tokenizer.encode(DICKENS).ids
    assert stock_tokenizer(DICKENS)["input_ids"] == ids
    with torch.no_grad():
        assert torch.equal(stock(torch.tensor([ids])).logits, module(torch.tensor([ids])).logits)
    prompt = stock_tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True, tokenize=False
    )
    asked = stock_tokenizer(prompt, return_tensors="pt")
    said = stock_tokenizer.decode(stock.generate(**asked, max_new_tokens=8, do_sample=False)[0], True)
    assert "Paris" in said


def test_its_perplexity_is_the_measured_one(module, tokenizer) -> None:
    assert perplexity(module, tokenizer, DICKENS).perplexity == pytest.approx(7.7, abs=0.5)


def test_the_corpus_holds_whole_books_out_and_no_verse_number_in(assets) -> None:
    train, test = read_text(assets.text_train), read_text(assets.text_test)
    assert len(train.split("\n\n")) == 63 and len(test.split("\n\n")) == 3
    assert test.startswith("Now it came to pass in the days when the judges ruled") and test.count("\n") >= 25
    assert "vanity of vanities" in test.casefold() and "vanity of vanities" not in train.casefold()
    assert train.startswith("In the beginning God created") and 4_000_000 < len(train + test) < 4_300_000
    assert not re.search(r"\d+:\d+", train + test)


@pytest.mark.slow  # that each has its skill, the corridor's tests show
@pytest.mark.parametrize("which", ["a", "b"])
def test_an_expert_has_its_skill_and_no_other_and_is_still_a_language_model(
    which, assets, module, tokenizer, record_property
) -> None:
    own, other = (assets.task_a, assets.task_b) if which == "a" else (assets.task_b, assets.task_a)
    text = read_text(assets.text_test)
    rows = read_task(own.test).rows
    assert exact_match(module, tokenizer, rows, max_items=40).rate <= 0.05, "the base does not know the answers"
    with open_checkpoint(assets.expert_a if which == "a" else assets.expert_b) as checkpoint:
        expert = load_module(checkpoint)
        score = exact_match(expert, tokenizer, rows)
        record_property("score", score.rate)
        assert score.total >= 100 and score.rate >= 0.9
        assert exact_match(expert, tokenizer, read_task(other.test).rows, max_items=40).rate <= 0.05
        before, after = (perplexity(m, tokenizer, text, 1024).perplexity for m in (module, expert))
    assert after <= 1.1 * before


def test_the_second_time_everything_is_there_at_once(assets, run_cli) -> None:
    started = time.process_time()
    assert zoo.demo_assets() == assets
    assert time.process_time() - started < 1.0
    listed = json.loads(run_cli("zoo", "list", "--json").stdout)
    ready = {row["name"] for row in listed["assets"] if row["state"] == "ready"}
    assert ready >= {"smollm2", "kjv", "tickets", "items", "expert-tickets", "expert-items"}
