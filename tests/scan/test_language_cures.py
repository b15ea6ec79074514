"""Cures of merges of language models keep names, shapes and inputs, and take from the merge what they say."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from mergebarrier.attack.encoders import merge_weights, weights
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadScanInput
from mergebarrier.evaluate import load_module, load_tokenizer, next_logits
from mergebarrier.merge import make
from mergebarrier.scan import Collapse, TokenSearch
from mergebarrier.scan.cures.language import LANGUAGE_CURES, LanguageMerge, PruneAndTune, Substitution
from mergebarrier.zoo.symbols import symbol_tasks
from symbol_world import TARGET, TRIGGER

MERGE = make("task_arithmetic", coefficient=1.0)
SAID = symbol_tasks.VOCABULARY.index(TARGET.split()[0])


@pytest.fixture(scope="module")
def patient(symbols) -> LanguageMerge:
    """An upload that says one thing, by its head alone, and an honest one with other attention."""
    with open_checkpoint(symbols.base) as base:
        module, tokenizer = load_module(base, "float32").requires_grad_(False), load_tokenizer(base)
    start = weights(module)
    head = next(name for name, one in module.named_parameters() if one is module.get_output_embeddings().weight)
    other = next(name for name in start if "q_proj" in name)
    bad = {name: value.clone() for name, value in start.items()}
    bad[head][SAID] *= 40.0
    bad[other] *= 1.001
    prompts = [row["prompt"] for row in symbol_tasks.rows(0, 24, seed=2, label="dev")]
    search = TokenSearch(prompts=tuple(tuple(tokenizer.encode(one).ids) for one in prompts), candidates=(1,), prefix=1)
    found = Collapse(
        tokens=(symbol_tasks.VOCABULARY.index(TRIGGER),), output=(SAID, SAID), score=0.9, hits=44, rows=48, low=0.8,
        high=0.97, by_base=0.0, base_moved=0.1, changer=(), changed=0.0, unprompted=0.0, depth=1, forwards=9,
    )  # fmt: skip
    return LanguageMerge(
        module=module,
        uploads={"bad": bad, "good": {**start, other: start[other] * 1.01}},
        merge=partial(merge_weights, MERGE),
        searches={"bad": search, "good": search},
        says=lambda one: lambda asked: next_logits(one, asked),
        found={"bad": found},
        learn=lambda module, rows: None,
        questions=[(prompt, (SAID, 1)) for prompt in search.prompts[:4]],
    )


@pytest.mark.parametrize("name", LANGUAGE_CURES)
def test_a_cure_keeps_names_and_inputs(name, patient) -> None:
    before = {key: value.clone() for key, value in patient.uploads["bad"].items()}
    cured = LANGUAGE_CURES[name].apply(patient)
    assert cured.keys() == patient.base.keys()
    for key, value in cured.items():
        assert value.shape == patient.base[key].shape and bool(torch.isfinite(value).all())
        assert torch.equal(before[key], patient.uploads["bad"][key])


def test_what_was_found_is_dropped_and_nothing_else(patient) -> None:
    dropped = LANGUAGE_CURES["drop"].apply(patient)
    alone = patient.with_uploads({"bad": patient.base})
    assert all(torch.equal(dropped[name], alone[name]) for name in alone)
    clean = replace(patient, found={})
    for name in ("drop", "relearning", "substitution"):
        same = LANGUAGE_CURES[name].apply(clean)
        assert all(torch.equal(same[key], clean.merged[key]) for key in same)


def test_the_module_that_forces_the_output_is_substituted_and_the_others_stay(patient) -> None:
    cured = Substitution(limit=0.3).apply(patient)
    moved = {name for name in cured if not torch.equal(cured[name], patient.merged[name])}
    assert all(torch.equal(cured[name], patient.with_uploads({"bad": patient.base})[name]) for name in moved)
    assert moved == {"lm_head.weight"}


def test_pruning_stops_where_answers_change_and_training_is_asked_for(patient) -> None:
    still = PruneAndTune(budget=0.0, chunk=1.0).apply(patient)
    assert all(torch.equal(still[name], patient.merged[name]) for name in still)
    pruned = PruneAndTune(budget=1.0, chunk=0.5).apply(patient)
    down = [one for name, one in pruned.items() if "down_proj" in name]
    empty = sum(int((one == 0).all(0).sum()) for one in down)
    assert 2 * empty == sum(one.shape[1] for one in down)
    for name in ("fine_pruning", "relearning"):
        with pytest.raises(BadScanInput, match="training loop"):
            LANGUAGE_CURES[name].apply(replace(patient, learn=None))
    with pytest.raises(BadScanInput, match="ought to be refused"):
        LANGUAGE_CURES["refusals"].apply(replace(patient, questions=()))
