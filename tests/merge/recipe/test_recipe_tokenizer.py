"""Embeddings are brought to one vocabulary before they are merged: every row is the row of its token."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.merge.vocabulary import Vocabulary, cut, read_vocabulary
from mergebarrier.merge.vocabulary import rows as rows_of
from mergebarrier.merge.vocabulary.rows import Picks, VocabularyRows
from recipe_models import layered

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
COMMON = ["<unk>", "a", "b", "ab", "c"]


def entry(token: str, number: int, **settings: bool) -> dict:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": token, **plain, **settings}


def tokenizer(pieces: list[str], added: list[str] = (), **more: object) -> dict:
    """Return a tokenizer.json of a BPE, added tokens behind the pieces."""
    rows = [entry(token, len(pieces) + i) for i, token in enumerate(added)]
    merges = [["a", "b"]] if {"a", "b", "ab"} <= set(pieces) else []
    inner = {"type": "BPE", "vocab": {token: i for i, token in enumerate(pieces)}, "merges": merges, **more}
    return {"version": "1.0", "model": inner, "added_tokens": rows}


@pytest.fixture
def world(tmp_path: Path):
    """``world(NAME=(tokenizer, rows)) -> folders``: models with vocabularies of their own."""

    def build(**models) -> dict[str, Path]:
        folders = {}
        for seed, (name, (document, rows)) in enumerate(models.items()):
            tensors = layered(seed)
            generator = torch.Generator().manual_seed(100 + seed)
            tensors |= {key: torch.randn((rows, 6), generator=generator) for key in (EMBED, HEAD)}
            folder = folders[name] = tmp_path / name
            folder.mkdir()
            config = {"model_type": "llama", "tie_word_embeddings": False, "vocab_size": rows, "eos_token_id": 1}
            (folder / "config.json").write_text(json.dumps(config))
            if document is not None:
                (folder / "tokenizer.json").write_text(json.dumps(document))
                (folder / "tokenizer_config.json").write_text(json.dumps({"of": name}))
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folders

    return build


def merged(run_cli, tmp_path, recipe: dict, *words: object):
    """Run a recipe; return (tensors, tokenizer.json, config.json, what ran)."""
    path, out = tmp_path / "recipe.yaml", tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
    path.write_text(yaml.safe_dump(recipe))
    ran = run_cli("merge", path, "-o", out, *words)
    assert ran.exit_code == 0, ran.stderr
    tokens = json.loads((out / "tokenizer.json").read_text()) if (out / "tokenizer.json").exists() else None
    return load_file(out / "model.safetensors"), tokens, json.loads((out / "config.json").read_text()), ran


def ids(document: dict) -> dict[str, int]:
    return document["model"]["vocab"] | {row["content"]: row["id"] for row in document["added_tokens"]}


def recipe(folders, *names: str, base: str = "base", **tokenizer: object) -> dict:
    models = [{"model": str(folders[name]), "parameters": {"weight": 1.0}} for name in names]
    return {"merge_method": "linear", "base_model": str(folders[base]), "models": models, "tokenizer": tokenizer}


def row(folders, name: str, token: str, key: str = EMBED) -> torch.Tensor:
    document = json.loads((folders[name] / "tokenizer.json").read_text())
    return load_file(folders[name] / "model.safetensors")[key][ids(document)[token]]


@pytest.mark.parametrize("key", [EMBED, HEAD])
def test_every_token_of_a_union_has_the_mean_of_the_rows_it_had(run_cli, tmp_path, world, key) -> None:
    other = ["<unk>", "c", "b", "a", "ab", "new"]  # in another order
    folders = world(base=(tokenizer(COMMON), 5), x=(tokenizer(other, ["<end>"]), 7), y=(tokenizer(COMMON, ["<e>"]), 6))
    tensors, tokens, config, _ = merged(run_cli, tmp_path, recipe(folders, "base", "x", "y", source="union"))
    numbers = ids(tokens)
    assert numbers == {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "c": 4, "new": 5, "<end>": 6, "<e>": 7}
    assert tensors[key].shape == (8, 6) and config["vocab_size"] == 8
    for token in COMMON:
        wanted = sum(row(folders, name, token, key) for name in ("base", "x", "y")) / 3
        assert torch.allclose(tensors[key][numbers[token]], wanted, atol=1e-6), token
    for token, name in (("new", "x"), ("<end>", "x"), ("<e>", "y")):  # its only owner's, three times
        assert torch.allclose(tensors[key][numbers[token]], row(folders, name, token, key), atol=1e-6), token
    loaded = Tokenizer.from_str(json.dumps(tokens))
    assert {token: loaded.token_to_id(token) for token in numbers} == numbers
    assert loaded.encode("ab<end>").ids == [3, 6]
    assert [item["special"] for item in tokens["added_tokens"]] == [False, True, True]


def test_the_base_or_a_model_gives_its_tokens_and_its_files(run_cli, tmp_path, world) -> None:
    folders = world(base=(tokenizer(COMMON), 8), x=(tokenizer(COMMON[::-1], ["<end>"]), 6))
    tensors, tokens, config, _ = merged(run_cli, tmp_path, recipe(folders, "base", "x", source="base"))
    assert ids(tokens) == {token: i for i, token in enumerate(COMMON)} and config["vocab_size"] == 5
    wanted = (row(folders, "base", "c") + row(folders, "x", "c")) / 2
    assert torch.allclose(tensors[EMBED][4], wanted, atol=1e-6)  # rows without a token are gone
    tensors, tokens, config, _ = merged(run_cli, tmp_path, recipe(folders, "base", "x", source=str(folders["x"])))
    assert ids(tokens)["<end>"] == 5 and ids(tokens)["c"] == 0 and config["vocab_size"] == 6
    assert torch.allclose(tensors[EMBED][0], wanted, atol=1e-6)
    assert torch.allclose(tensors[HEAD][5], row(folders, "x", "<end>", HEAD), atol=1e-6)
    assert (tmp_path / "out1" / "tokenizer.json").read_bytes() == (folders["x"] / "tokenizer.json").read_bytes()


def test_a_token_that_some_lack_takes_the_row_of_the_base_or_the_mean_of_its_owners(run_cli, tmp_path, world) -> None:
    more = [*COMMON, "<e>"]
    folders = world(
        base=(tokenizer(COMMON), 5), x=(tokenizer(more), 6), y=(tokenizer(COMMON, ["<e>"]), 6), z=(tokenizer(["a"]), 1)
    )
    tensors, tokens, _, _ = merged(run_cli, tmp_path, recipe(folders, "base", "x", "y", "z", source="union"))
    mean = (row(folders, "x", "<e>") + row(folders, "y", "<e>")) / 2
    assert torch.allclose(tensors[EMBED][ids(tokens)["<e>"]], mean, atol=1e-6)
    given = [row(folders, name, "c") for name in ("base", "x", "y", "base")]  # z lacks it
    assert torch.allclose(tensors[EMBED][4], sum(given) / 4, atol=1e-6)


def test_rules_give_a_token_its_row_and_force_overrides_what_is_there(run_cli, tmp_path, world) -> None:
    folders = world(base=(tokenizer(COMMON), 5), x=(tokenizer(COMMON, ["<end>"]), 6))
    x = str(folders["x"])
    rules = {
        "a": {"source": x, "force": True},
        "b": {"source": x},  # present everywhere: no effect
        "c": {"source": {"kind": "zero"}, "force": True},
        "ab": {"source": {"kind": "model_token", "model": x, "token_id": 5}, "force": True},
        "fresh": {"source": {"kind": "model_token", "model": x, "token": "<unk>"}},
        "nobody's": {},
    }
    told = recipe(folders, "base", "x", source="union", tokens=rules, pad_to_multiple_of=6)
    tensors, tokens, config, _ = merged(run_cli, tmp_path, told)
    found = tensors[EMBED]
    assert config["vocab_size"] == 12 and found.shape[0] == 12 and len(ids(tokens)) == 8
    number = ids(tokens)
    assert torch.equal(found[number["a"]], row(folders, "x", "a"))
    assert torch.allclose(found[2], (row(folders, "base", "b") + row(folders, "x", "b")) / 2, atol=1e-6)
    assert not found[number["c"]].any() and not found[number["nobody's"]].any()
    assert torch.equal(found[number["ab"]], row(folders, "x", "<end>"))
    assert torch.equal(found[number["fresh"]], row(folders, "x", "<unk>"))
    assert torch.allclose(found[8:], found[:8].mean(dim=0).expand(4, 6), atol=1e-6)
    Tokenizer.from_str(json.dumps(tokens))


@pytest.mark.parametrize("kind", ["task_arithmetic", "ties", "slerp", "dare_linear"])
def test_methods_see_aligned_rows(run_cli, tmp_path, world, kind) -> None:
    folders = world(base=(tokenizer(COMMON), 5), x=(tokenizer(COMMON[::-1], ["<end>"]), 6))
    told = {**recipe(folders, "base", "x", source="union"), "merge_method": kind}
    if kind == "slerp":
        told |= {"parameters": {"t": 0.0}, "models": [{"model": str(folders[name])} for name in ("base", "x")]}
    else:
        told["models"][1]["parameters"]["weight"] = 0.0
    tensors, _, _, _ = merged(run_cli, tmp_path, told)
    assert torch.allclose(tensors[EMBED][:5], load_file(folders["base"] / "model.safetensors")[EMBED], atol=1e-6)


def test_tokens_behind_the_rows_are_none(run_cli, tmp_path, world) -> None:
    folders = world(base=(tokenizer([*COMMON, "bc"]), 5), x=(tokenizer(COMMON, ["<pad>"]), 5))
    tensors, tokens, config, _ = merged(run_cli, tmp_path, recipe(folders, "base", "x", source="union"))
    assert set(ids(tokens)) == set(COMMON) and tensors[EMBED].shape[0] == config["vocab_size"] == 5
    fewer = world(few=(tokenizer(COMMON), 3))["few"]
    with open_checkpoint(fewer) as model:
        whole = read_vocabulary(model)
    assert whole is not None
    assert cut(whole, 3, fewer).document["model"]["merges"] == []  # what they make is cut
    unigram = {**whole.document, "model": {"type": "Unigram", "vocab": [["a", 0.0], ["b", -1.0]], "unk_id": 0}}
    pieces = Vocabulary(ids={"a": 0, "b": 1}, added={}, n_pieces=2, document=unigram)
    assert cut(pieces, 1, fewer).document["model"]["vocab"] == [["a", 0.0]]


def test_a_model_without_a_tokenizer_is_taken_for_the_base(run_cli, tmp_path, world) -> None:
    folders = world(base=(tokenizer(COMMON), 5), x=(None, 5))
    *_, ran = merged(run_cli, tmp_path, recipe(folders, "base", "x", source="union"))
    assert "x has no tokenizer.json: its tokens are taken for those of the base" in ran.stderr


def test_explain_tells_where_rows_come_from(run_cli, tmp_path, world) -> None:
    folders = world(base=(tokenizer(COMMON), 5), x=(tokenizer(COMMON[::-1], ["<end>"]), 6))
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(folders, "base", "x", source="union", pad_to_multiple_of=4)))
    ran = run_cli("merge", path, "--explain", "--json")
    told = next(tensor for tensor in ran.json["tensors"] if tensor["tensor"] == EMBED)
    assert told["shape"] == [8, 6]
    assert [source["rows"] for source in told["sources"]] == [
        {"own": 5, "only owner": 1, "padding": 2}, {"own": 6, "padding": 2},
    ]  # fmt: skip
    assert "expert x weight=1 rows: 6 own 2 padding" in run_cli("merge", path, "--explain").stdout


def test_rows_read_in_pieces_are_the_rows_read_at_once(world) -> None:
    folders = world(base=(tokenizer(COMMON), 40), x=(tokenizer(COMMON), 40))
    draw = np.random.default_rng(5)
    with open_checkpoint(folders["base"]) as base, open_checkpoint(folders["x"]) as x:
        word = draw.choice([rows_of.OWN, rows_of.MEAN, rows_of.ZERO, rows_of.PADDING], 64).astype(np.int8)
        owner = np.where(word == rows_of.OWN, draw.integers(0, 2, 64), rows_of.NOBODY).astype(np.int32)
        means = {int(i): ((0, int(i) % 40), (1, 3)) for i in np.flatnonzero(word == rows_of.MEAN)}
        picks = Picks((base, x), owner, np.minimum(np.arange(64), 39), word, means)
        rows = VocabularyRows(EMBED, picks, torch.float32)
        at_once = rows.read(0, 64, (6,))
        for step in (1, 3, 7, 64):
            parts = [
                VocabularyRows(EMBED, picks, torch.float32).read(i, min(i + step, 64), (6,)) for i in range(0, 64, step)
            ]
            assert torch.equal(torch.cat(parts), at_once), step
        tokens = at_once[torch.from_numpy(word != rows_of.PADDING)]
        padding = at_once[torch.from_numpy(word == rows_of.PADDING)]
        assert torch.allclose(padding, tokens.mean(dim=0).expand(len(padding), 6), atol=1e-6)


def test_special_tokens_are_those_of_the_tokenizer(run_cli, tmp_path, world) -> None:
    folders = world(base=(tokenizer(COMMON), 5), x=(tokenizer(COMMON, ["<end>"]), 6))
    config = json.loads((folders["x"] / "config.json").read_text())
    (folders["x"] / "config.json").write_text(json.dumps({**config, "eos_token_id": [5, 2]}))
    _, _, config, _ = merged(run_cli, tmp_path, recipe(folders, "base", "x", source=str(folders["x"])))
    assert config["eos_token_id"] == [5, 2]
    _, _, config, _ = merged(run_cli, tmp_path, recipe(folders, "base", "x", source="base"))
    assert config["eos_token_id"] == 1


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "nests deeper"),
        (b"[]", "no table model"),
        (b'{"model": {"type": "Wizard", "vocab": {}}}', "kind 'Wizard' is not one of BPE"),
        (b'{"model": {"type": "BPE", "vocab": {"a": -1}}}', "the id of 'a' is not a whole number"),
        (b'{"model": {"type": "BPE", "vocab": {"a": "0"}}}', "the id of 'a' is not a whole number"),
        (b'{"model": {"type": "BPE", "vocab": 7}}', "no vocabulary"),
        (b'{"model": {"type": "BPE", "vocab": {}}, "added_tokens": [7]}', "an added token is malformed"),
        (b'{"model": {"type": "BPE", "vocab": {"a": 0, "b": 9}}}', "its ids have gaps"),
    ],
)
def test_a_tokenizer_that_is_none_is_refused(run_cli, tmp_path, world, document, says) -> None:
    folders = world(base=(tokenizer(COMMON), 10), x=(tokenizer(COMMON, ["<a>", "<b>", "<c>", "<d>", "<e>"]), 10))
    (folders["base"] / "tokenizer.json").write_bytes(document)
    path = tmp_path / "recipe.yaml"
    tokens = {f"t{i}": {} for i in range(12)}
    path.write_text(yaml.safe_dump(recipe(folders, "base", "x", source="union", tokens=tokens)))
    ran = run_cli("merge", path, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and says in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"source": "union", "tokens": {"a": {"source": "X+lora"}}}, "no such folder"),
        ({"source": "base", "tokens": {"<end>": {"source": "BASE"}}}, "has no row for '<end>'"),
        ({"source": "base", "tokens": {"q": {"source": {"kind": "model_token", "model": "X", "token_id": 6}}}}, "6"),
        ({"source": "base", "tokens": {"q": {"source": {"kind": "model_token", "model": "X"}}}}, "either token"),
        ({"source": "base", "tokens": {"q": {"source": {"kind": "one"}}}}, "unknown kind 'one'"),
        ({"source": "base", "tokens": {"q": {"sorce": "X"}}}, "unknown key 'sorce' (did you mean 'source'?)"),
        ({"source": "base", "tokens": {"q": {"force": 3}}}, "not true or false"),
        ({"source": "base", "pad_to_multiple_of": 0}, "not a number of rows"),
        ({"source": "base", "pad_to_multiple_of": 2**30}, "not a number of rows"),
        ({"source": "base", "tokens": [1]}, "not a table of tokens"),
    ],
)
def test_what_a_tokenizer_cannot_mean_is_refused(run_cli, tmp_path, world, asked, says) -> None:
    folders = world(base=(tokenizer(COMMON), 5), x=(tokenizer(COMMON, ["<end>"]), 6))
    text = yaml.safe_dump(recipe(folders, "base", "x", **asked))
    (tmp_path / "recipe.yaml").write_text(
        text.replace("BASE", str(folders["base"])).replace(": X", f": {folders['x']}")
    )
    ran = run_cli("merge", tmp_path / "recipe.yaml", "-o", tmp_path / "out")
    assert ran.exit_code == 2 and says in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr


@pytest.mark.parametrize(
    ("rows", "key", "number", "lost"),
    [(5, "eos_token_id", 9, True), (8, "pad_token_id", 7, True), (8, "eos_token_id", 7, False)],
)
def test_a_special_number_without_a_token_is_lost_unless_its_row_may_be_trained(
    run_cli, tmp_path, world, rows, key, number, lost
) -> None:
    folders = world(base=(tokenizer(COMMON), rows), x=(tokenizer(COMMON), rows))
    config = json.loads((folders["base"] / "config.json").read_text())
    (folders["base"] / "config.json").write_text(json.dumps({**config, key: number}))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(folders, "base", "x", source="base")))
    ran = run_cli("merge", tmp_path / "recipe.yaml", "-o", tmp_path / "out")
    if lost:
        assert ran.exit_code == 0 and f"{key} was {number}, which no token has: left out" in ran.stderr
        assert json.loads((tmp_path / "out" / "config.json").read_text())[key] is None
    else:
        assert ran.exit_code == 2 and f"{key} is {number}, and the output has 5 tokens" in ran.stderr


def test_unequal_rows_are_an_error_unless_they_are_cut(run_cli, tmp_path, world) -> None:
    folders = world(base=(tokenizer(COMMON), 9), x=(tokenizer(COMMON), 7))
    told = {key: value for key, value in recipe(folders, "base", "x").items() if key != "tokenizer"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(told))
    ran = run_cli("merge", tmp_path / "recipe.yaml", "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "7 rows against 9" in ran.stderr and "tokenizer: {source: base}" in ran.stderr
    tensors, _, config, ran = merged(run_cli, tmp_path, told, "--unsafe-truncate-embeddings")
    inputs = [load_file(folder / "model.safetensors") for folder in folders.values()]
    assert torch.allclose(tensors[EMBED], (inputs[0][EMBED][:7] + inputs[1][EMBED]) / 2, atol=1e-6)
    assert config["vocab_size"] == 7 and "cut to the 7 rows that all models have" in ran.stderr
    told["tokenizer"] = {"source": "base"}
    assert merged(run_cli, tmp_path, told, "--unsafe-truncate-embeddings")[0][EMBED].shape[0] == 5
