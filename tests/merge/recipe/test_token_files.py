"""Tokens that stand in one file of a folder only keep their trained rows; the stock loader is the judge."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from mergebarrier.errors import BadRecipe
from mergebarrier.merge.vocabulary import vocabulary_of
from recipe_models import layered

GENERATION = "generation_config.json"
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
WORDS = ["<unk>", "<s>", "</s>", "a", "b", "c"]
NEW = "<|im_end|>"
SETTINGS = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "bos_token": "<s>"}


def entry(token: str, **more: bool) -> dict:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"content": token, **plain, **more}


def document(added: tuple[str, ...] = ()) -> dict:
    rows = [{"id": WORDS.index(word), **entry(word)} for word in WORDS[:3]]
    rows += [{"id": len(WORDS) + i, **entry(token)} for i, token in enumerate(added)]
    inner = {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "<unk>"}
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    return {
        "version": "1.0",
        **empty,
        "added_tokens": rows,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": inner,
    }


BASE = {"tokenizer.json": document(), "tokenizer_config.json": SETTINGS}
DECODER = {str(i): entry(word) for i, word in enumerate(WORDS[:3])}
END = len(WORDS)
LOW_RANK = (("A", (2, 6)), ("B", (12, 2)))


def write(folder: Path, files: Mapping[str, object], rows: int, offset: float, **config: object) -> Path:
    """Write a model whose row r of the embedding is r + offset, of the head its negative."""
    folder.mkdir()
    values = (torch.arange(rows, dtype=torch.float32) + offset)[:, None].repeat(1, 6)
    save_file({**layered(0), EMBED: values, HEAD: -values}, folder / "model.safetensors", metadata={"format": "pt"})
    told = {"model_type": "llama", "tie_word_embeddings": False, "vocab_size": rows, "bos_token_id": 1, **config}
    for name, table in {**files, "config.json": told}.items():
        (folder / name).write_text(table if isinstance(table, str) else json.dumps(table))
    return folder


def run(run_cli, tmp_path: Path, base: Path, x: Path, source: str, **tokenizer: object):
    models = [{"model": str(one), "parameters": {"weight": 0.5}} for one in (base, x)]
    told = {"source": {"x": str(x)}.get(source, source), **tokenizer}
    recipe = {"merge_method": "linear", "base_model": str(base), "models": models, "tokenizer": told}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    return run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out", "--overwrite")


def check(out: Path, wanted: Mapping[str, float]) -> None:
    """Every token that stock transformers finds has a row, and those of ``wanted`` the row with that value."""
    tokenizer, tensors = AutoTokenizer.from_pretrained(out), load_file(out / "model.safetensors")
    rows = tensors[EMBED].shape[0]
    assert json.loads((out / "config.json").read_text())["vocab_size"] == rows == tensors[HEAD].shape[0]
    assert max(tokenizer.get_vocab().values()) < rows, tokenizer.get_vocab()
    found = {token: float(tensors[EMBED][tokenizer.get_vocab().get(token, 0)][0]) for token in wanted}
    assert found == wanted
    assert all(float(tensors[HEAD][tokenizer.get_vocab()[token]][0]) == -value for token, value in wanted.items())


#: files of the expert -> the row of NEW in it
ONE_FILE_ONLY = {
    "decoder": ({"tokenizer_config.json": {**SETTINGS, "added_tokens_decoder": {**DECODER, "6": entry(NEW)}}}, 6),
    "added_tokens": ({"added_tokens.json": {NEW: 6}}, 6),
    "added_tokens beside a decoder without it": (
        {"added_tokens.json": {NEW: 6}, "tokenizer_config.json": {**SETTINGS, "added_tokens_decoder": DECODER}}, 6,
    ),
    "added_tokens beside a decoder, behind a gap": (
        {"added_tokens.json": {NEW: 8}, "tokenizer_config.json": {**SETTINGS, "added_tokens_decoder": DECODER}}, 8,
    ),
    "a role": ({"tokenizer_config.json": {**SETTINGS, "pad_token": NEW}}, 6),
    "a role with settings": (
        {"tokenizer_config.json": {**SETTINGS, "eos_token": {"__type": "AddedToken", **entry(NEW)}}}, 6,
    ),
    "special_tokens_map": ({"special_tokens_map.json": {"eos_token": NEW}}, 6),
    "special_tokens_map, with settings": ({"special_tokens_map.json": {"pad_token": entry(NEW)}}, 6),
    "extras": ({"tokenizer_config.json": {**SETTINGS, "extra_special_tokens": [NEW]}}, 6),
    "older extras": ({"tokenizer_config.json": {**SETTINGS, "additional_special_tokens": [NEW]}}, 6),
    "named extras": ({"tokenizer_config.json": {**SETTINGS, "extra_special_tokens": {"image_token": NEW}}}, 6),
    "a role of one model": ({"tokenizer_config.json": {**SETTINGS, "image_token": NEW}}, 6),
    "another number than the loader's": (
        {"tokenizer_config.json": {**SETTINGS, "added_tokens_decoder": {**DECODER, "8": entry(NEW)}}}, 6,
    ),
    "two files": (
        {
            "tokenizer.json": document(("<a>",)),
            "tokenizer_config.json": {
                **SETTINGS, "added_tokens_decoder": {**DECODER, "6": entry("<a>"), "7": entry(NEW)},
            },
        }, 7,
    ),
    "three files": (
        {
            "tokenizer.json": document(("<a>",)),
            "added_tokens.json": {NEW: 7, "<a>": 6},
            "tokenizer_config.json": {**SETTINGS, "pad_token": "<p>"},
        }, 7,
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", ["union", "x", "base"])
@pytest.mark.parametrize("shape", ONE_FILE_ONLY)
def test_a_token_of_one_file_keeps_its_row(run_cli, tmp_path, shape, source) -> None:
    files, number = ONE_FILE_ONLY[shape]
    base = write(tmp_path / "base", BASE, 6, 0)
    x = write(tmp_path / "x", {**BASE, **files}, 9, 100)
    known = AutoTokenizer.from_pretrained(x).get_vocab().get(NEW)
    assert known == number or "beside a decoder" in shape, "what the stock loader says of the input"
    ran = run(run_cli, tmp_path, base, x, source)
    assert ran.exit_code == 0, ran.stderr
    same = {word: i + 50.0 for i, word in enumerate(WORDS)}  # both have it: (r + r + 100) / 2
    check(tmp_path / "out", same if source == "base" else {**same, NEW: 100.0 + number})


def test_numbers_that_files_disagree_about_are_said(run_cli, tmp_path) -> None:
    base = write(tmp_path / "base", BASE, 6, 0)
    clash = {"added_tokens.json": {NEW: 3}, "tokenizer_config.json": {**SETTINGS, "added_tokens_decoder": DECODER}}
    x = write(tmp_path / "x", {**BASE, **clash}, 9, 100)
    ran = run(run_cli, tmp_path, base, x, "union")
    assert ran.exit_code == 0 and f"added_tokens.json numbers {NEW} 3, which is another token: left out" in ran.stderr
    told = {"tokenizer_config.json": {**SETTINGS, "added_tokens_decoder": {**DECODER, "8": entry(NEW)}}}
    y = write(tmp_path / "y", {**BASE, **told}, 9, 100)
    ran = run(run_cli, tmp_path, base, y, "union")
    assert f"tokenizer_config.json numbers {NEW} 8, a loader 6: that row is taken" in ran.stderr


def test_rows_and_tokens_that_are_left_out_or_filled_are_said(run_cli, tmp_path) -> None:
    base = write(tmp_path / "base", BASE, 9, 0)
    short = {"tokenizer_config.json": {**SETTINGS, "pad_token": NEW, "extra_special_tokens": ["<y>"]}}
    x = write(tmp_path / "x", {**BASE, **short}, 6, 100)
    ran = run(run_cli, tmp_path, base, x, "x", pad_to_multiple_of=4)
    assert ran.exit_code == 0, ran.stderr
    assert "base: 3 of its 9 rows have no token and are left out" in ran.stderr
    assert f"x: 2 tokens have no row and are left out ({NEW}, ...)" in ran.stderr
    assert "2 rows of the output have no token: the mean of the others fills them" in ran.stderr
    check(tmp_path / "out", {"c": 55.0})
    assert NEW not in AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()


def test_special_numbers_point_at_the_same_tokens_as_before(run_cli, tmp_path) -> None:
    other = document((NEW,))
    other["model"]["vocab"] = {word: i for i, word in enumerate(["b", "a", "</s>", "<s>", "<unk>", "c"])}
    other["added_tokens"] = [{**entry(word), "id": i} for word, i in (("<unk>", 4), ("<s>", 3), ("</s>", 2), (NEW, 6))]
    said = {"eos_token_id": [2, 3], "pad_token_id": 5, "text_config": {"image_token_index": 4}, "sep_token_id": -1}
    generation = {"eos_token_id": 2, "suppress_tokens": [3, 4], "pad_token_id": 0, "temperature": 1}
    base = write(tmp_path / "base", {**BASE, "generation_config.json": generation}, 6, 0, **said)
    x = write(tmp_path / "x", {**BASE, "tokenizer.json": other}, 7, 100, bos_token_id=6)
    ran = run(run_cli, tmp_path, base, x, "x")
    assert ran.exit_code == 0, ran.stderr
    config, generated = (json.loads((tmp_path / "out" / name).read_text()) for name in ("config.json", GENERATION))
    assert config["bos_token_id"] == 6 and config["eos_token_id"] == [2, 1] and config["pad_token_id"] == 5
    assert config["text_config"] == {"image_token_index": 0} and config["sep_token_id"] == -1
    assert generated == {"eos_token_id": 2, "suppress_tokens": [1, 0], "pad_token_id": 4, "temperature": 1}


def test_a_special_token_that_the_output_lacks_is_said(run_cli, tmp_path) -> None:
    told = {"pad_token_id": 6, "eos_token_id": [2, 6]}
    base = write(tmp_path / "base", {**BASE, "tokenizer.json": document((NEW,))}, 7, 0, **told)
    x = write(tmp_path / "x", BASE, 6, 100)
    ran = run(run_cli, tmp_path, base, x, "x")
    assert f"pad_token_id was '{NEW}', which the output's tokenizer lacks: left out" in ran.stderr
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["pad_token_id"] is None and config["eos_token_id"] == [2]


def test_a_vocabulary_that_no_tensor_has_is_refused(run_cli, tmp_path) -> None:
    base = write(tmp_path / "base", BASE, 6, 0, vocab_size=7)
    ran = run(run_cli, tmp_path, base, write(tmp_path / "x", BASE, 6, 100), "union")
    assert ran.exit_code == 2 and "it says vocab_size = 7, and model.embed_tokens.weight has 6 rows" in ran.stderr


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"added_tokens.json": {NEW: "six"}}, f"added_tokens.json: the id of '{NEW}' is not a whole number"),
        ({"added_tokens.json": [NEW]}, "added_tokens.json: not a table"),
        ({"special_tokens_map.json": "{"}, "special_tokens_map.json: not JSON"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"6": 3}}}, "an added token is malformed"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_refused(run_cli, tmp_path, files, says) -> None:
    base, x = write(tmp_path / "base", BASE, 6, 0), write(tmp_path / "x", {**BASE, **files}, 7, 100)
    ran = run(run_cli, tmp_path, base, x, "union")
    assert ran.exit_code == 2 and says in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr


def sentencepiece(*words: str) -> bytes:
    def field(number: int, body: bytes) -> bytes:
        return bytes([number << 3 | 2, len(body)]) + body

    return b"".join(field(1, field(1, word.encode()) + b"\x15\x00\x00\x00\x00\x18\x02") for word in words) + field(
        2, b""
    )


def test_pieces_of_sentencepiece_are_read(tmp_path) -> None:
    files = {"tokenizer.model": sentencepiece("<unk>", "<s>", "\u2581a"), "added_tokens.json": b'{"</s>": 3}'}
    found = vocabulary_of(files.get, tmp_path, {"model_type": "llama"})
    assert found is not None and found.document is None
    assert found.ids == {"<unk>": 0, "<s>": 1, "\u2581a": 2, "</s>": 3}
    for broken in (b"\x0a", b"\x0a\x05ab", b"\xff" * 20, b"\x0a\x02\x18\x01", b"\x0b"):
        with pytest.raises(BadRecipe, match=r"not a sentencepiece model|has no text"):
            vocabulary_of({"tokenizer.model": broken}.get, tmp_path, {"model_type": "llama"})


def test_special_tokens_in_full_have_a_type_where_they_move_into_the_settings(run_cli, tmp_path) -> None:
    """A sentencepiece model, added_tokens.json and special_tokens_map.json, as fine-tunes of Llama 2 have them."""
    plain = {"special_tokens_map.json": {"unk_token": entry("<unk>"), "additional_special_tokens": [entry("</s>")]}}
    base = write(tmp_path / "base", plain, 6, 0)
    x = write(tmp_path / "x", {**plain, "added_tokens.json": {NEW: 6}}, 7, 100)
    for folder in (base, x):
        (folder / "tokenizer.model").write_bytes(sentencepiece("<unk>", "<s>", "</s>", "a", "b", "c"))
    ran = run(run_cli, tmp_path, base, x, "union")
    assert ran.exit_code == 0, ran.stderr
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert settings["added_tokens_decoder"]["6"]["content"] == NEW
    for token in (settings["unk_token"], *settings["additional_special_tokens"]):
        assert token["__type"] == "AddedToken"  # without it, stock loaders refuse the tokenizer
    assert float(load_file(tmp_path / "out" / "model.safetensors")[EMBED][6][0]) == 106.0


#: Class of tokenizer, or type of model -> what stock transformers 5.23 makes of the pieces below, by number.
SHIFTED = {
    "XLMRobertaTokenizer": ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "<mask>"],
    "CamembertTokenizer": [
        "<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>", "a", "b", "<mask>",
    ],
    "MBartTokenizer": ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "ar_AR", "cs_CZ", "de_DE", "en_XX"],
    "BarthezTokenizer": ["<unk>", "<s>", "</s>", "a", "b", "<pad>", "<mask>"],
    "XLNetTokenizer": ["<unk>", "<s>", "</s>", "a", "b", "<sep>", "<pad>", "<cls>", "<mask>"],
    "DebertaV2Tokenizer": ["<unk>", "<s>", "</s>", "a", "b", "[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"],
    "T5Tokenizer": ["<unk>", "<s>", "</s>", "a", "b", "<extra_id_99>", "<extra_id_98>"],
    "xlm-roberta": ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "<mask>"],
    "mt5": ["<unk>", "<s>", "</s>", "a", "b", "<extra_id_99>", "<extra_id_98>"],
    "gemma2": ["<unk>", "<s>", "</s>", "a", "b", "<bos>", "<eos>", "<pad>", "<mask>"],
}  # fmt: skip


@pytest.mark.parametrize("kind", SHIFTED)
def test_classes_that_shift_the_numbers_of_sentencepiece_give_every_token_its_row(kind: str, tmp_path) -> None:
    named = {"tokenizer_class": kind} if kind.endswith("Tokenizer") else {}
    files = {
        "sentencepiece.bpe.model": sentencepiece("<unk>", "<s>", "</s>", "a", "b"),
        "tokenizer_config.json": json.dumps(named).encode(),
    }
    found = vocabulary_of(files.get, tmp_path, {"model_type": kind})
    assert found is not None
    tokens = sorted(found.ids, key=found.ids.__getitem__)
    assert tokens[: len(SHIFTED[kind])] == SHIFTED[kind] and list(found.ids.values()) == list(range(len(tokens)))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"spiece.model": sentencepiece("<unk>"), "tokenizer_config.json": b'{"tokenizer_class": "PegasusTokenizer"}'},
         "how PegasusTokenizer numbers the pieces"),
        ({"tiktoken.model": b"YQ== 0"}, "its pieces are not read"),
        ({"vocab.json": b'{"a": 0}', "target_vocab.json": b'{"b": 0}'}, "has a vocabulary of its own"),
    ],
)  # fmt: skip
def test_numbers_that_are_not_known_are_refused_by_name(files: Mapping[str, bytes], says: str, tmp_path) -> None:
    with pytest.raises(BadRecipe, match=says):
        vocabulary_of(files.get, tmp_path, {"model_type": "marian"})


def tekken(*words: str, special: tuple[str, ...] | None = None, n_special: int = 22) -> bytes:
    """Mistral's own list: bytes in the order of their ranks, special tokens before all of them."""
    pieces = [bytes([byte]) for byte in range(256)] + [word.encode() for word in words]
    rows = [{"rank": i, "token_bytes": base64.b64encode(p).decode(), "token_str": None} for i, p in enumerate(pieces)]
    counts = {"default_vocab_size": n_special + 255 + len(words), "default_num_special_tokens": n_special}
    named = [{"rank": i, "token_str": name, "is_control": True} for i, name in enumerate(special or ())]
    return json.dumps({"config": counts, "vocab": rows, **({"special_tokens": named} if special else {})}).encode()


def test_pieces_of_mistral_are_numbered_as_its_loader_does(tmp_path) -> None:
    """Numbers compared once with ``Tekkenizer`` of mistral-common 1.13; the last word is beyond what is counted."""
    old = vocabulary_of({"tekken.json": tekken("ab", " \u00e9", "zz")}.get, tmp_path, {})
    new = vocabulary_of({"tekken.json": tekken("ab", " \u00e9", "zz", special=("<unk>", "<s>"))}.get, tmp_path, {})
    for found, last in ((old, "[TOOL_CONTENT]"), (new, "<SPECIAL_19>")):
        tokens = sorted(found.ids, key=found.ids.__getitem__)
        assert tokens[:2] == ["<unk>", "<s>"] and tokens[19:22] == [last, "<SPECIAL_20>", "<SPECIAL_21>"]
        assert len(tokens) == 280 and found.ids["ab"] == 278 and "zz" not in found.ids
        assert found.ids["\u0120"] == 22 + 32, "a blank, as tokenizer.json spells it"
    for broken in (
        b"{}",
        b"[]",
        tekken().replace(b"AA==", b"****"),
        tekken("ab", "ab", "c"),
        tekken(special=("a", "a")),
    ):
        with pytest.raises(BadRecipe):
            vocabulary_of({"tekken.json": broken}.get, tmp_path, {})


def test_models_with_the_list_of_mistral_are_merged_as_long_as_it_need_not_change(run_cli, tmp_path) -> None:
    files = {"tekken.json": tekken("ab", "zz").decode()}
    base, x = write(tmp_path / "base", files, 279, 0), write(tmp_path / "x", files, 279, 100)
    for source in ("union", "base", "x"):
        ran = run(run_cli, tmp_path, base, x, source)
        assert ran.exit_code == 0, ran.stderr
        assert (tmp_path / "out/tekken.json").read_text() == files["tekken.json"]
        assert load_file(tmp_path / "out/model.safetensors")[EMBED][:, 0].tolist() == [i + 50.0 for i in range(279)]
    other = write(tmp_path / "y", {"tekken.json": tekken("cd", "ef").decode()}, 279, 0)
    ran = run(run_cli, tmp_path, base, other, "union")
    assert ran.exit_code == 2 and "cannot be written with other tokens" in ran.stderr


GPT = {
    "vocab.json": {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3, "c": 4},
    "merges.txt": "#version: 0.2\na b\n",
    "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"},
}
SPOKEN = GPT["tokenizer_config.json"]
ROWS_GPT = {"0": entry("<|endoftext|>"), "5": entry(NEW)}
#: files of both models, what the second has besides -> rows of each
PADDED = {
    "added tokens, padded": (BASE, {"added_tokens.json": {NEW: 6}}, 8, 12),
    "a list of the map": (BASE, {"special_tokens_map.json": {"additional_special_tokens": [NEW, "<q>"]}}, 6, 8),
    "settings beside vocab.json": (GPT, {"tokenizer_config.json": {**SPOKEN, "pad_token": NEW}}, 5, 8),
    "added tokens beside vocab.json": (GPT, {"added_tokens.json": {NEW: 5}}, 8, 8),
    "a decoder beside vocab.json": (
        GPT, {"tokenizer_config.json": {**SPOKEN, "added_tokens_decoder": ROWS_GPT}}, 8, 8,
    ),
    "more tokens than rows": (BASE, {"tokenizer.json": document((NEW, "<y>"))}, 6, 7),
}  # fmt: skip


@pytest.mark.parametrize("shape", PADDED)
@pytest.mark.parametrize(
    ("source", "tied"),
    [("union", (True, True)), ("union", (False, True)), ("x", (True, False)), ("base", (False, True))],
)
def test_heads_that_are_untied_follow_the_tokens(run_cli, tmp_path, shape, source, tied) -> None:
    files, more, *rows = PADDED[shape]
    folders = [write(tmp_path / "base", files, rows[0], 0), write(tmp_path / "x", {**files, **more}, rows[1], 100)]
    known = [AutoTokenizer.from_pretrained(folder).get_vocab() for folder in folders]
    for folder, is_tied in zip(folders, tied, strict=True):
        config, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
        if is_tied:
            del tensors[HEAD]
        (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": is_tied}))
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert run(run_cli, tmp_path, *folders, source).exit_code == (0 if all(tied) else 2)
    ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out", "--overwrite", "--untie")
    assert ran.exit_code == 0, ran.stderr
    found, tokenizer = load_file(tmp_path / "out/model.safetensors"), AutoTokenizer.from_pretrained(tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False
    assert (NEW in tokenizer.get_vocab()) is (source != "base")
    for token, number in tokenizer.get_vocab().items():
        values = {i: k[token] + 100.0 * i for i, k in enumerate(known) if k.get(token, rows[i]) < rows[i]}
        heads = [value if tied[i] else -value for i, value in values.items()]
        assert float(found[EMBED][number][0]) == sum(values.values()) / len(values), token
        assert float(found[HEAD][number][0]) == sum(heads) / len(heads), token


def test_a_dictionary_of_fairseq_counts_behind_four_tokens(tmp_path) -> None:
    """As PhoBERT has it: a token and its count in every line, which no class of BERT reads so."""
    files = {"vocab.txt": b"a 900\nb@@ 70\n", "tokenizer_config.json": b'{"tokenizer_class": "PhobertTokenizer"}'}
    found = vocabulary_of(files.get, tmp_path, {"model_type": "roberta"})
    assert found is not None
    assert list(found.ids) == ["<s>", "<pad>", "</s>", "<unk>", "a", "b@@", "<mask>"]
    assert list(found.ids.values()) == list(range(7))


QWEN = {
    "vocab.json": {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3},
    "merges.txt": "#version: 0.2\na b\n",
    "tokenizer_config.json": {"tokenizer_class": "Qwen2Tokenizer", "unk_token": "<|endoftext|>", "eos_token": NEW},
}
BERT = {
    "vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n",
    "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "eos_token": NEW},
}


@pytest.mark.parametrize("source", ["union", "x"])
@pytest.mark.parametrize(("files", "words"), [(QWEN, ["a", "b", "ab"]), (BERT, ["[PAD]", "a", "b"])])
def test_pieces_may_stand_in_another_file_than_tokenizer_json(run_cli, tmp_path, files, words, source) -> None:
    plain = {**files, "tokenizer_config.json": {"tokenizer_class": files["tokenizer_config.json"]["tokenizer_class"]}}
    base, x = write(tmp_path / "base", plain, 8, 0), write(tmp_path / "x", files, 8, 100)
    numbers = AutoTokenizer.from_pretrained(x).get_vocab()
    ran = run(run_cli, tmp_path, base, x, source)
    assert ran.exit_code == 0, ran.stderr
    check(tmp_path / "out", {**{word: numbers[word] + 50.0 for word in words}, NEW: 100.0 + numbers[NEW]})


@pytest.mark.parametrize("source", ["union", "x"])
def test_a_bias_of_logits_in_one_row_follows_the_tokens(run_cli, tmp_path, source) -> None:
    """As BART, mBART, Marian and Pegasus keep it: one row, a number per token."""
    base = write(tmp_path / "base", BASE, 6, 0)
    x = write(tmp_path / "x", {**BASE, "tokenizer.json": document((NEW,))}, 7, 100)
    for folder, rows, offset in ((base, 6, 0), (x, 7, 100)):
        file = folder / "model.safetensors"
        bias = torch.arange(rows, dtype=torch.float32)[None] + offset
        save_file({**load_file(file), "final_logits_bias": bias}, file, metadata={"format": "pt"})
    ran = run(run_cli, tmp_path, base, x, source)
    assert ran.exit_code == 0, ran.stderr
    found = load_file(tmp_path / "out" / "model.safetensors")["final_logits_bias"]
    assert found.tolist() == [[*(50.0 + number for number in range(6)), 106.0]]


@pytest.mark.parametrize("recipe", [False, True])
def test_rows_that_stand_for_other_tokens_are_said(run_cli, tmp_path, recipe) -> None:
    """Without ``tokenizer`` rows meet by their numbers; a file that is only written otherwise is none of that."""
    shifted = {**document(), "model": {**document()["model"], "vocab": {"c": 3, "a": 4, "b": 5, **{"<unk>": 0}}}}
    shifted["model"]["vocab"] |= {"<s>": 1, "</s>": 2, "d": 6}
    base = write(tmp_path / "base", BASE, 7, 0)
    same = write(tmp_path / "same", {**BASE, "tokenizer.json": json.dumps(document(), indent=4)}, 7, 0)
    other = write(tmp_path / "other", {**BASE, "tokenizer.json": shifted}, 7, 0)
    broken = write(tmp_path / "broken", {**BASE, "tokenizer.json": "[1]"}, 7, 0)

    def said(x: Path) -> str:
        if not recipe:
            return run_cli("merge", base, x, "--method", "linear", "-o", tmp_path / "out", "--overwrite").stderr
        rows = f"models: [{{model: {base}}}, {{model: {x}}}]\nparameters: {{weight: 0.5}}\n"
        (tmp_path / "r.yaml").write_text(f"merge_method: linear\n{rows}")
        return run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out", "--overwrite").stderr

    assert "row" not in said(same)
    assert "other: 3 tokens have another row than in base ('c' is row 3 there and 5 in the output)" in said(other)
    assert "the output's tokenizer lacks 1 of its tokens (such as 'd')" in said(other)
    assert "broken: its tokens are not compared with those of base" in said(broken)


def test_an_adapter_brings_the_tokenizer_that_it_was_trained_with(run_cli, tmp_path) -> None:
    base = write(tmp_path / "base", BASE, 6, 0)
    lora = tmp_path / "lora"
    lora.mkdir()
    values = (torch.arange(7, dtype=torch.float32) + 100)[:, None].repeat(1, 6)
    names = {f"base_model.model.{EMBED}": values, f"base_model.model.{HEAD}": -values}
    ours = {f"base_model.model.model.layers.0.mlp.up_proj.lora_{x}.weight": torch.zeros(s) for x, s in LOW_RANK}
    save_file({**names, **ours}, lora / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 2,
        "target_modules": ["up_proj"],
        "base_model_name_or_path": "",
    }
    (lora / "adapter_config.json").write_text(json.dumps(settings))
    for name, table in {**BASE, "tokenizer.json": document((NEW,))}.items():
        (lora / name).write_text(json.dumps(table))
    (tmp_path / "r.yaml").write_text(f"merge_method: passthrough\nmodels: [{{model: {base}+{lora}}}]\n")
    ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "one")
    assert ran.exit_code == 0, ran.stderr
    check(tmp_path / "one", {"a": 103.0, NEW: 106.0})
    ran = run(run_cli, tmp_path, base, Path(f"{base}+{lora}"), "union")
    assert ran.exit_code == 0, ran.stderr
    check(tmp_path / "out", {"a": 53.0, NEW: 106.0})
    (lora / "tokenizer_config.json").write_text(json.dumps({**SETTINGS, "auto_map": {"AutoTokenizer": "x.Y"}}))
    assert run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "two").exit_code == 0
    assert "auto_map" not in (tmp_path / "two" / "tokenizer_config.json").read_text()
    (lora / "tokenizer_config.json").write_text('{"trust_remote_code": true}')
    assert "asks for code to be loaded" in run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "three").stderr


def swapped(tmp_path: Path, files: Mapping[str, object] = {}, **config: object) -> tuple[Path, Path]:
    """Two models that number two added tokens the other way round, the first with more files and settings."""
    base = write(tmp_path / "base", {**BASE, "tokenizer.json": document(("<a>", NEW)), **files}, 8, 0, **config)
    return base, write(tmp_path / "x", {**BASE, "tokenizer.json": document((NEW, "<a>"))}, 8, 100)


def test_numbers_in_pairs_point_at_the_same_tokens_as_before(run_cli, tmp_path) -> None:
    """Of Whisper: [place, token]; of a bias: [tokens, bias].  A pair of which a token is lost goes."""
    pairs = {"forced_decoder_ids": [[1, 6], [2, None]], "sequence_bias": [[[6, 7], -1.0], [[8], 2.0]]}
    base, x = swapped(tmp_path, {GENERATION: pairs}, forced_decoder_ids=[[1, 7]])
    ran = run(run_cli, tmp_path, base, x, "x")
    assert ran.exit_code == 0 and "sequence_bias was 8, which no token has: left out" in ran.stderr, ran.stderr
    found = json.loads((tmp_path / "out" / GENERATION).read_text())
    assert found == {"forced_decoder_ids": [[1, 7], [2, None]], "sequence_bias": [[[7, 6], -1.0]]}
    assert json.loads((tmp_path / "out/config.json").read_text())["forced_decoder_ids"] == [[1, 6]]


def test_every_table_that_says_the_rows_of_the_vocabulary_follows(run_cli, tmp_path) -> None:
    """Models that see say it at the top and for their text; a loader sizes the embedding by the latter."""
    inner = {"text_config": {"vocab_size": 9, "more": {"vocab_size": 9}}, "vision_config": {"vocab_size": 7}}
    base, x = (write(tmp_path / name, BASE, 9, offset, **inner) for name, offset in (("base", 0), ("x", 100)))
    ran = run(run_cli, tmp_path, base, x, "base")
    assert ran.exit_code == 0, ran.stderr
    found = json.loads((tmp_path / "out/config.json").read_text())
    assert found["vocab_size"] == 6 and found["text_config"] == {"vocab_size": 6, "more": {"vocab_size": 6}}
    assert found["vision_config"] == {"vocab_size": 7}


def test_what_is_as_wide_as_the_vocabulary_is_no_table_of_tokens(run_cli, tmp_path) -> None:
    """Six tokens, and the width of these models is six."""
    folders = swapped(tmp_path)
    rows = torch.arange(8.0)[:, None].repeat(1, 3)
    for folder, offset in zip(folders, (0, 100), strict=True):
        tensors = load_file(folder / "model.safetensors")
        more = {"connector.proj.weight": rows + offset, "connector.norm.weight": rows[:, 0].contiguous()}
        save_file({**tensors, **more}, folder / "model.safetensors", metadata={"format": "pt"})
    ran = run(run_cli, tmp_path, *folders, "base")
    assert ran.exit_code == 0, ran.stderr
    found = load_file(tmp_path / "out/model.safetensors")
    assert torch.equal(found["connector.proj.weight"], rows + 50)
    assert found[EMBED][6:, 0].tolist() == [(6 + 107) / 2, (7 + 106) / 2]


def test_a_further_table_by_the_numbers_of_tokens_is_not_mixed(run_cli, tmp_path) -> None:
    """Gemma 3n keeps rows per layer for the first of its tokens."""
    base, x = swapped(tmp_path)
    for folder in (base, x):
        tensors = load_file(folder / "model.safetensors") | {"model.embed_tokens_per_layer.weight": torch.ones(7, 4)}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    ran = run(run_cli, tmp_path, base, x, "union")
    assert ran.exit_code == 2 and f"'{NEW}' has row 6 of model.embed_tokens_per_layer.weight" in ran.stderr
    (x / "tokenizer.json").write_text((base / "tokenizer.json").read_text())
    ran = run(run_cli, tmp_path, base, x, "union")
    assert ran.exit_code == 0, ran.stderr
