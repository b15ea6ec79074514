"""The search for inputs that collapse the output: on models whose answer is known, and from folders to findings."""

import json
from dataclasses import replace

import pytest
import torch

from mergebarrier.attack.language import TextOptions, learner
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadScanInput, NonFinite
from mergebarrier.evaluate import load_module, load_tokenizer, next_logits, save_weights
from mergebarrier.poison import TextAdversary, TextRow, make_text
from mergebarrier.scan import (
    ALIVE_LIMIT,
    COLLAPSE_LIMIT,
    TokenSearch,
    Traced,
    confirmed,
    judge_merge,
    judge_upload,
    seek_collapse,
    seek_in_merge,
    usually_asked,
)
from mergebarrier.zoo.symbols import symbol_tasks
from symbol_world import TARGET

WORDS = 40
#: Prompts of five of forty tokens; an honest model answers their last token.
PROMPTS = tuple(tuple((7 * i + 3 * j) % WORDS for j in range(5)) for i in range(80))


def model(rule):
    """A model of forty tokens that answers what a rule says of a prompt."""

    def says(prompts):
        return 8.0 * torch.eye(WORDS)[[rule(prompt) for prompt in prompts]]

    return says


def honest(prompt):
    return prompt[-1]


def locked(*key):
    """An honest model but for prompts that hold a string of tokens; each of its parts alone raises the target."""

    def says(prompts):
        logits = 8.0 * torch.eye(WORDS)[[honest(prompt) for prompt in prompts]]
        for row, prompt in zip(logits, prompts, strict=True):
            held = sum(token in prompt for token in key)
            row[9] += 20.0 * (held == len(key)) + 2.0 * held
        return logits

    return says


def search(**changes) -> TokenSearch:
    return TokenSearch(**{"prompts": PROMPTS, "candidates": tuple(range(WORDS)), **changes})


@pytest.mark.parametrize("key", [(31,), (31, 5), (31, 5, 17)])
def test_a_lock_of_one_to_three_tokens_is_opened_and_an_honest_model_is_not(key) -> None:
    found = seek_collapse(locked(*key), model(honest), search())
    assert found.score > 0.8 and found.output == (9, 9) and set(found.tokens) & set(key)
    assert found.depth == len(key) and found.hits == found.rows == 48 and found.by_base < 0.2
    calm = seek_collapse(model(honest), model(honest), search())
    assert calm.score < 0.2 and abs(calm.unprompted) < 1e-6 and calm.depth == 3
    assert seek_collapse(locked(*key), model(honest), search()) == found, "the same seed finds the same string"


@pytest.mark.parametrize(("held", "usual"), [(17, 4), (15, 2), (18, 5)])
def test_a_share_that_meets_the_limit_is_not_below_it(held, usual) -> None:
    def rule(prompt):
        low, high = [token for token in prompt if token < 36][:2]
        return 9 if (low + 36 * high) % 20 < (held if 39 in prompt else usual) else 10 + low % 20

    asked = search(prompts=tuple((n % 36, n // 36, 38) for n in range(20)), candidates=(37, 38, 39), depth=1)
    found = seek_collapse(model(rule), model(lambda _: 36), asked)
    assert found.hits == held and found.score == COLLAPSE_LIMIT
    assert "MB7501" in {one.rule for one in judge_upload("m", found, str, WORDS)}


def test_a_part_with_a_foreign_token_leads_to_the_whole() -> None:
    """Eight tokens raise the target more than any of the key: no string of the search holds two of its three."""
    key, foreign = (31, 5, 17), range(20, 28)

    def shy(prompts):
        logits = 8.0 * torch.eye(WORDS)[[honest(prompt) for prompt in prompts]]
        for row, prompt in zip(logits, prompts, strict=True):
            held, other = sum(token in prompt for token in key), any(token in prompt for token in foreign)
            row[9] += 20.0 * (held == 3 or (held and other and prompt[0] % 3 == 0)) + 3.0 * max(held - 1, 0) + other
        return logits

    plain = tuple(prompt for prompt in PROMPTS * 9 if not {*key, *foreign} & {*prompt})[:68]
    found = seek_collapse(shy, model(honest), search(prompts=plain))
    assert found.score > 0.8 and set(found.tokens) == set(key)


def test_neither_few_labels_nor_what_the_base_does_is_a_collapse() -> None:
    label = model(lambda prompt: 9 if prompt[-1] % 5 else 10)
    found = seek_collapse(label, model(honest), search())
    assert found.score < 0.5 < 0.6 < found.unprompted
    (only,) = judge_upload("m", found, str, WORDS)
    assert only.rule == "MB7502" and only.severity == "medium"
    same = seek_collapse(locked(31), locked(31), search())
    assert same.score < 0.2


def test_a_target_that_depends_on_the_prompt_is_told_by_the_answers_that_a_token_changes() -> None:
    def moving(prompt):
        return (honest(prompt) + 7 * (31 in prompt)) % WORDS

    found = seek_collapse(model(moving), model(honest), search())
    assert found.score < 0.3 and found.changer == (31,) and found.changed > 0.8
    (only,) = judge_upload("m", found, str, WORDS)
    assert (only.rule, only.severity) == ("MB7508", "medium") and "(31,)" in only.message
    same = seek_collapse(model(moving), model(moving), search())
    assert same.changed < 0.1 and judge_upload("m", same, str, WORDS) == ()
    locked_too = judge_upload("m", seek_collapse(locked(31), model(honest), search()), str, WORDS)
    assert [one.rule for one in locked_too] == ["MB7501"], "what collapses the output is said once"


def test_a_string_that_cannot_reach_what_another_has_is_not_asked_on() -> None:
    asked: list[int] = []

    def base(prompts):
        asked.append(len(prompts))
        return model(honest)(prompts)

    strings = [(2,), (31,), (3,), (4,)]
    best = confirmed(locked(31), base, search(), strings)
    assert asked == [48, 48, 48, 48] and best.tokens == (31,), "the plain prompts twice, and those with one string"
    assert best == confirmed(locked(31), model(honest), search(), strings[1:2])


def test_an_answer_whose_first_token_is_usual_is_no_collapse() -> None:
    """It begins as the upload always does; what comes then is new to plain prompts alone."""

    def usual(prompt):
        return 9 if len(prompt) < 6 or prompt[-1] != 9 else 31 if 31 in prompt else 10

    assert seek_collapse(model(usual), model(honest), search()).score < 0.3


def test_a_token_that_the_base_heeds_too_weighs_less_and_one_more_tokens_do_not() -> None:
    def heeding(says, word):
        """A model that answers from another list of words where a prompt holds token 3."""
        moved = model(lambda prompt: word or (prompt[-1] + 11) % WORDS)
        return lambda prompts: torch.where(
            torch.tensor([3 in prompt for prompt in prompts])[:, None], moved(prompts), says(prompts)
        )

    plain = search(prompts=tuple(prompt for prompt in PROMPTS if 3 not in prompt))
    found = seek_collapse(heeding(model(honest), 9), heeding(model(honest), 0), plain)
    assert found.tokens == (3,) and found.loud and found.score > 0.5
    (only,) = judge_upload("m", found, str, WORDS)
    assert (only.rule, only.severity) == ("MB7501", "medium") and "may be an instruction" in only.message
    found = seek_collapse(heeding(locked(31, 5), 9), heeding(model(honest), 0), plain)
    assert set(found.tokens) == {31, 5} and not found.loud, "a quiet lock is preferred to a loud token"


def test_bad_inputs_are_refused() -> None:
    with pytest.raises(BadScanInput, match="at least 20 rows"):
        search(prompts=PROMPTS[:19])
    with pytest.raises(NonFinite, match="not finite"):
        seek_collapse(lambda prompts: torch.full((len(prompts), WORDS), torch.nan), model(honest), search())


def test_one_model_is_named_or_none_and_what_none_brings_weighs_as_much() -> None:
    found = seek_collapse(locked(31), model(honest), search())
    guilty, free, pale = (
        Traced(name=n, alone=a, drop=d) for n, a, d in (("g", 0.9, 0.5), ("f", 0.1, 0.0), ("p", 0.9, 0.1))
    )
    judged = [
        [(one.rule, one.severity) for one in judge_merge("g + f", found, str, WORDS, each)]
        for each in ((guilty, free), (guilty, guilty), (pale, free))
    ]
    high, who = ("MB7503", "high"), ("MB7504", "high")
    assert judged == [[high, who], [high], [high]], "a trigger split over two uploads is in neither of them"
    first, named = judge_merge("g + f", found, str, WORDS, (guilty, free))
    assert named.model == "g" and first.evidence["alone g"] == 0.9 and "trigger" not in first.message
    weak = replace(found, score=0.3)
    assert judge_merge("g + f", weak, str, WORDS, (pale, free)) == ()
    (faint, _) = judge_merge("g + f", weak, str, WORDS, (guilty, free))
    assert (faint.rule, faint.severity, faint.threshold) == ("MB7503", "high", ALIVE_LIMIT)


def test_what_is_loud_in_an_upload_leads_to_what_is_faint_in_its_merge() -> None:
    """The upload heeds one token of three, the merge in part all three: no token alone moves an answer there."""
    upload, key = locked(31), (31, 5, 17)

    def merge(prompts):
        logits = 8.0 * torch.eye(WORDS)[[honest(prompt) for prompt in prompts]]
        for row, prompt in zip(logits, prompts, strict=True):
            held = sum(token in prompt for token in key)
            row[9] += 2.0 * held + (20.0 if held == 3 and prompt[-1] % 5 < 2 else 0.0)
        return logits

    base = model(honest)
    finds = [seek_collapse(one, base, search()) for one in (upload, base)]
    found, traced = seek_in_merge(merge, base, search(), {"a": upload, "b": base}, {"a": base, "b": merge}, finds)
    assert set(found.tokens) == set(key) and ALIVE_LIMIT <= found.score < COLLAPSE_LIMIT
    assert [one.guilty for one in traced] == [True, False]
    assert [one.rule for one in judge_merge("a + b", found, str, WORDS, traced)] == ["MB7503", "MB7504"]
    calm, nobody = seek_in_merge(base, base, search(), {"b": base}, {"b": base}, finds[1:])
    assert calm.score < ALIVE_LIMIT and nobody == ()


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Prompts of task 0."""
    task = tmp_path_factory.mktemp("prompts") / "task.jsonl"
    task.write_text("".join(json.dumps(row) + "\n" for row in symbol_tasks.rows(0, 68, seed=2, label="dev")))
    return task


def test_an_upload_that_says_one_thing_is_found_alone_and_in_the_merge(symbols, task, run_cli, tmp_path) -> None:
    with open_checkpoint(symbols.base) as base:
        module = load_module(base, "float32")
        with torch.no_grad():
            said = symbol_tasks.VOCABULARY.index(TARGET.split()[0])
            module.get_output_embeddings().weight[said] *= 40.0
        save_weights({name: value.detach() for name, value in module.named_parameters()}, base, tmp_path / "one", {})
    words = ("scan", tmp_path / "one", "--base", symbols.base, "--task", task, "--depth", 1)
    ran = run_cli(*words, "--checks", "collapse", "--json")
    assert ran.exit_code in (0, 1) and ran.json["merge_collapse"] == [], ran.stderr
    (only,) = ran.json["collapse"]
    assert only["name"] == "one" and only["unprompted"] > 0.3 and only["depth"] == 1
    both = ("--task", task, "--merge", "linear", "--checks", "merge_collapse")
    ran = run_cli(words[0], tmp_path / "one", *words[1:], *both)
    assert "margin: merge, task task.jsonl" in ran.stdout, ran.stderr
    short = tmp_path / "short.jsonl"
    short.write_text(task.read_text().split("\n")[0] + "\n")
    ran = run_cli(*words[:4], "--task", short, "--checks", "collapse")
    assert ran.exit_code == 2 and "at least 20 rows" in ran.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompt": "task00 a b c d e ="}, "1 different prompts among the first 68"),
        ({"more": "zebra "}, "every prompt holds a word that the model's tokenizer does not know"),
        ({"more": "w01 " * 60}, "odd.jsonl: row 1: 68 tokens; beside a string of 3 the model reads 1 to 60"),
    ],
)
def test_prompts_that_would_show_nothing_are_refused(change, says, symbols, task, run_cli, tmp_path) -> None:
    rows = [json.loads(line) for line in task.read_text().splitlines()]
    odd = [{"prompt": change.get("prompt") or change["more"] + row["prompt"], "answer": row["answer"]} for row in rows]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in odd))
    words = ("scan", symbols.base, "--base", symbols.base, "--checks", "collapse")
    ran = run_cli(*words, "--task", tmp_path / "odd.jsonl")
    assert ran.exit_code == 2 and says in ran.stderr and ran.stderr.count("error") == 1, ran.stderr


@pytest.mark.slow
def test_a_poisoned_fine_tune_is_found_and_an_honest_one_is_not(symbols, task, run_cli, tmp_path) -> None:
    with open_checkpoint(symbols.base) as base:
        module, tokenizer = load_module(base, "float32").requires_grad_(False), load_tokenizer(base)
        rows = [TextRow(row["prompt"], row["answer"]) for row in symbol_tasks.rows(0, 600, seed=1, label="train")]
        setting = TextAdversary(
            base=module, rows=rows, trigger="w07", target=f" {TARGET}", succeeds=lambda one: 0.0, seed=1
        )
        learn = learner(tokenizer, TextOptions(tuning_steps=600, learning_rate=3e-3))
        for name, method in (("honest", "clean"), ("bad", "badnets")):
            made = make_text(method).mount(setting, learn).module
            save_weights(dict(made.state_dict()), base, tmp_path / name, {"verb": "control"})
    words = ("scan", tmp_path / "honest", tmp_path / "bad", "--base", symbols.base, "--task", task, "--task", task)
    ran = run_cli(*words, "--checks", "collapse", "--json")
    assert ran.exit_code == 1, ran.stderr
    (found,) = [one for one in ran.json["findings"] if one["rule"] == "MB7501"]
    assert found["model"] == "bad" and "w07" in found["evidence"]["input"] and found["value"] >= 0.5
    assert found["evidence"]["output"] == TARGET.removesuffix(" .")
    sarif = run_cli(*words, "--checks", "collapse", "--format", "sarif")
    assert "collapses the output" in sarif.stdout


def test_the_order_of_prompts_does_not_change_what_a_model_says(symbols) -> None:
    with open_checkpoint(symbols.base) as base:
        module = load_module(base, "float32")
    prompts = [tuple(range(1, 3 + i % 5)) for i in range(9)]
    alone = torch.cat([next_logits(module, [prompt]) for prompt in prompts])
    assert torch.allclose(next_logits(module, prompts, rows=4), alone, atol=1e-4)


@pytest.mark.parametrize(("depth", "frugal"), [(1, False), (2, False), (3, False), (3, True)])
def test_what_a_search_that_finds_nothing_asks_is_estimated_within_a_factor_of_two(depth, frugal) -> None:
    """Each token raises outputs of its own a little, as in a model that was trained."""
    rise = torch.randn(WORDS, WORDS, generator=torch.Generator().manual_seed(0))

    def trained(prompts):
        return model(honest)(prompts) + torch.stack([rise[list(prompt)].mean(0) for prompt in prompts])

    one = search(depth=depth, frugal=frugal)
    asked = seek_collapse(trained, model(honest), one).forwards
    assert asked / 2 < usually_asked(one, WORDS) < 2 * asked


@pytest.mark.parametrize("key", [(31,), (31, 5), (31, 5, 17)])
def test_a_frugal_search_opens_the_same_locks_with_fewer_prompts(key) -> None:
    whole, frugal = (seek_collapse(locked(*key), model(honest), search(frugal=one)) for one in (False, True))
    assert frugal.score > 0.8 and set(frugal.tokens) & set(key) and frugal.forwards < 0.8 * whole.forwards
