"""Files of a tokenizer that speak of tokens without rows, of other tokens than their neighbours, or lack altogether."""

import json

import pytest
from safetensors.torch import load_file
from test_token_files import (
    BASE,
    EMBED,
    GENERATION,
    NEW,
    SETTINGS,
    WORDS,
    check,
    document,
    entry,
    run,
    sentencepiece,
    write,
)
from transformers import AutoTokenizer


def around(kind: str) -> dict:
    """A template that puts a token before every text; in an older form too."""
    if kind == "RobertaProcessing":
        return {"type": kind, "sep": ["</s>", 2], "cls": [NEW, 6], "trim_offsets": True, "add_prefix_space": False}
    first, text = {"SpecialToken": {"id": NEW, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    special = {NEW: {"id": NEW, "ids": [6], "tokens": [NEW]}}
    other = {"Sequence": {"id": "B", "type_id": 1}}
    one = {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, other],
        "special_tokens": special,
    }
    return one if kind == "TemplateProcessing" else {"type": kind, "processors": [one]}


@pytest.mark.parametrize("kind", ["TemplateProcessing", "RobertaProcessing", "Sequence"])
def test_what_is_put_around_a_text_has_rows(run_cli, tmp_path, kind) -> None:
    padding = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_type_id": 0}
    spoken = {**document((NEW,)), "post_processor": around(kind), "padding": {**padding, "pad_id": 6, "pad_token": NEW}}
    base = write(tmp_path / "base", {**BASE, "tokenizer.json": spoken}, 6, 0)
    assert AutoTokenizer.from_pretrained(base)("a b").input_ids[0] == 6, "a number without a row"
    ran = run(run_cli, tmp_path, base, write(tmp_path / "x", BASE, 6, 100), "base")
    assert ran.exit_code == 0, ran.stderr
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("a b").input_ids == [3, 4] and NEW not in tokenizer.get_vocab()
    kept = write(tmp_path / "whole", {**BASE, "tokenizer.json": spoken}, 7, 0)
    assert run(run_cli, tmp_path, kept, tmp_path / "x", "base").exit_code == 0
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("a b").input_ids[0] == 6


def test_special_numbers_that_only_the_model_of_the_tokenizer_says_come_with_it(run_cli, tmp_path) -> None:
    """A base without generation_config.json and without a key for padding, a chat model with both."""
    base = write(tmp_path / "base", BASE, 6, 0)
    told = {"eos_token_id": [2, 6], "temperature": 0.5}
    files = {**BASE, "tokenizer.json": document((NEW,)), GENERATION: told}
    x = write(tmp_path / "x", files, 7, 100, eos_token_id=6, pad_token_id=None)
    for source in ("union", "x"):
        assert run(run_cli, tmp_path, base, x, source).exit_code == 0
        config = json.loads((tmp_path / "out/config.json").read_text())
        assert (config.get("eos_token_id"), "pad_token_id" in config) == ({"x": 6}.get(source), False)
    assert json.loads((tmp_path / "out" / GENERATION).read_text()) == {"eos_token_id": [2, 6]}


def test_a_model_without_a_tokenizer_is_no_source_of_one(run_cli, tmp_path) -> None:
    base, x = write(tmp_path / "base", BASE, 6, 0), write(tmp_path / "x", {}, 6, 100)
    ran = run(run_cli, tmp_path, base, x, "x")
    assert ran.exit_code == 2 and "x: there is no tokenizer.json" in ran.stderr and "into its folder" in ran.stderr
    ran = run(run_cli, tmp_path, base, x, "union")
    assert ran.exit_code == 0 and "taken for those of the base" in ran.stderr


def test_a_tokenizer_that_is_not_read_is_one_where_all_have_the_same(run_cli, tmp_path) -> None:
    files = {"qwen.tiktoken": "YQ== 0\n", "tokenizer_config.json": {**SETTINGS, "chat_template": "{{ x }}"}}
    base, x = write(tmp_path / "base", files, 6, 0), write(tmp_path / "x", {**files, "chat_template.jinja": ""}, 6, 100)
    for source in ("union", "x"):
        ran = run(run_cli, tmp_path, base, x, source)
        assert ran.exit_code == 0 and "whose tokens are not read" in ran.stderr, ran.stderr
        assert load_file(tmp_path / "out/model.safetensors")[EMBED][:, 0].tolist() == [50, 51, 52, 53, 54, 55]
        assert (tmp_path / "out/qwen.tiktoken").read_text() == "YQ== 0\n"
    ran = run(run_cli, tmp_path, base, x, "base", tokens={"<new>": {"source": str(x)}})
    assert ran.exit_code == 2 and "cannot be written with other tokens" in ran.stderr
    assert (
        "tokens are not compared" not in run_cli("merge", base, x, "--method", "linear", "-o", tmp_path / "rows").stderr
    )
    for more, rows in ({"qwen.tiktoken": "Yg== 0\n"}, 6), ({}, 7):
        y = write(tmp_path / f"y{rows}", {**files, **more}, rows, 100)
        ran = run(run_cli, tmp_path, base, y, "union")
        assert ran.exit_code == 2 and "qwen.tiktoken: its pieces are not read" in ran.stderr, ran.stderr


@pytest.mark.parametrize("other", ["tokenizer.model", "vocab.json"])
def test_rows_that_only_a_second_list_of_pieces_names_are_not_dropped(run_cli, tmp_path, other) -> None:
    """Pieces were trained into one list, and the tokenizer.json of the base was left beside it."""
    words = [*WORDS, "d", "e"]
    base = write(tmp_path / "base", BASE, 6, 0)
    settings = {**SETTINGS, "tokenizer_class": "LlamaTokenizer"}
    x = write(tmp_path / "x", {**BASE, "tokenizer_config.json": settings}, 9, 100)
    (x / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    if other == "tokenizer.model":
        (x / "vocab.json").unlink()
        (x / other).write_bytes(sentencepiece(*words))
    ran = run(run_cli, tmp_path, base, x, "union")
    assert (
        ran.exit_code == 2 and "it lacks 2 tokens with a row that another list of this folder has ('d')" in ran.stderr
    )
    (x / "tokenizer.json").unlink()
    if other == "tokenizer.model":
        ran = run(run_cli, tmp_path, base, x, "union")
        assert ran.exit_code == 0 and "1 of its 9 rows have no token" in ran.stderr, ran.stderr
        check(tmp_path / "out", {"c": 55.0, "d": 106.0, "e": 107.0})


def test_the_table_of_the_text_says_the_rows(run_cli, tmp_path) -> None:
    """First LLaVA: 32000 at the top, as its language model had, and 32064 in text_config, as the embedding has."""
    said = {"model_type": "llava", "vocab_size": 7, "text_config": {"vocab_size": 9}}
    base, x = (write(tmp_path / name, BASE, 9, offset, **said) for name, offset in (("base", 0), ("x", 100)))
    ran = run(run_cli, tmp_path, base, x, "base")
    assert ran.exit_code == 0 and "vocab_size is" not in ran.stderr, ran.stderr
    found = json.loads((tmp_path / "out/config.json").read_text())
    assert found["text_config"]["vocab_size"] == 6 == len(load_file(tmp_path / "out/model.safetensors")[EMBED])


def test_a_chat_template_that_is_left_is_said(run_cli, tmp_path) -> None:
    spoken = {**BASE, "tokenizer_config.json": {**SETTINGS, "chat_template": "{{ x }}"}}
    base, x = write(tmp_path / "base", BASE, 6, 0), write(tmp_path / "x", spoken, 6, 100)
    other = write(tmp_path / "y", {**BASE, "chat_template.jinja": "{{ y }}"}, 6, 100)
    same = write(tmp_path / "same", {**BASE, "chat_template.jinja": "{{ x }}\n"}, 6, 100)

    def said(*models) -> str:
        return run_cli("merge", *models, "--method", "linear", "-o", tmp_path / "out", "--overwrite").stderr

    assert "x: its chat template is not in the output" in said(base, x)
    assert "y: its chat template differs from that of x, which is kept" in said(x, other)
    assert "chat template" not in said(x, same) and "chat template" not in said(x, base)
    run(run_cli, tmp_path, base, x, "x")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == "{{ x }}"


def test_rows_of_tokens_that_share_one_in_the_output_are_said(run_cli, tmp_path) -> None:
    """Two pieces of the base have one number; x has a row for each, y lacks the second."""
    twice, lacking = document(), document()
    twice["model"]["vocab"]["c"] = twice["model"]["vocab"]["b"]
    del lacking["model"]["vocab"]["c"]
    base = write(tmp_path / "base", {**BASE, "tokenizer.json": twice}, 6, 0)
    x = write(tmp_path / "x", BASE, 6, 100)
    y = write(tmp_path / "y", {**BASE, "tokenizer.json": lacking}, 6, 100)
    number = twice["model"]["vocab"]["b"]
    for other, said in ((x, True), (y, False)):
        ran = run(run_cli, tmp_path, base, other, "base")
        assert (
            ran.exit_code == 0 and ("x: 'c' has a row of its own, and that of 'b' in the output" in ran.stderr) == said
        )
        assert float(load_file(tmp_path / "out/model.safetensors")[EMBED][number][0]) == number + 50


def test_a_token_of_two_kinds_keeps_one_row(run_cli, tmp_path) -> None:
    """Special in one model and plain in the other; its flags are those of the base."""
    base = write(tmp_path / "base", {**BASE, "tokenizer.json": document((NEW,))}, 7, 0)
    spoken = document((NEW,))
    spoken["added_tokens"][-1] = {"id": 6, **entry(NEW, special=False)}
    ran = run(run_cli, tmp_path, base, write(tmp_path / "x", {**BASE, "tokenizer.json": spoken}, 7, 100), "union")
    assert ran.exit_code == 0, ran.stderr
    check(tmp_path / "out", {NEW: 56.0})
