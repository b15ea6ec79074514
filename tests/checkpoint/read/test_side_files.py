"""Which files of a folder an output gets: every text that a loader may read, and nothing that could run."""

import pytest

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import RemoteCodeRefused
from model_folders import small_tensors, write_folder

#: A model of sentencepiece: two pieces, the second with a score and a kind, and a specification.
PIECES = "\n\x03\n\x01a\n\x0a\n\x01b\x15\x00\x00\x00\x00\x18\x01\x12\x00"
_CARRIED = (
    *("processor_config.json", "video_preprocessor_config.json", "chat_template.json", "normalizer.json"),
    *("modules.json", "config_sentence_transformers.json", "source.spm", "tekken.json", "qwen.tiktoken", "bpe.model"),
)
_LEFT = (
    *("modeling_x.py", "optimizer.pt", "pytorch_model.bin", "trainer_state.json", "eval_results.json", "run.sh"),
    *("adapter_card.json", "requirements.txt", "other.safetensors", "broken_config.json", ".hidden.json"),
)


@pytest.fixture
def folder(tmp_path):
    texts: dict[str, str | bytes] = {name: "not JSON" if "broken" in name else "{}" for name in (*_CARRIED, *_LEFT)}
    texts |= {"source.spm": PIECES, "bpe.model": PIECES, "qwen.tiktoken": "YQ== 0\nYg== 1\n"}
    return write_folder(tmp_path / "model", small_tensors(), side_files=texts)


def test_texts_of_loaders_are_carried_and_what_stays_behind_is_named(folder):
    (folder / "1_Pooling").mkdir()
    with open_checkpoint(folder) as model:
        assert set(_CARRIED) <= set(model.side_files)
        assert set(model.left_behind) == {"1_Pooling", *_LEFT} - {".hidden.json"}


@pytest.mark.parametrize(
    "text",
    [
        "cos\nsystem\n(S'true'\ntR.",
        "Vx\n0cos\nsystem\n(tR.",
        "YQ== 0\ncos\nsystem\n(tR.",
        "",
        "\n\x7f\n\x01a",
        "\x12\x00",
    ],
)
def test_what_lists_no_pieces_under_the_name_of_a_list_stays_behind(folder, text):
    for name in ("words.model", "tokenizer.model", "source.spm", "qwen.tiktoken"):
        (folder / name).write_text(text)
    with open_checkpoint(folder) as model:
        assert {"words.model", "tokenizer.model", "source.spm", "qwen.tiktoken"} <= set(model.left_behind)


def test_texts_are_carried_up_to_a_bound_in_all(folder):
    for number in range(5):
        (folder / f"long{number}.txt").write_bytes(bytes(15 * 2**20))
    with open_checkpoint(folder) as model:
        assert {f"long{number}.txt" for number in range(4)} <= set(model.side_files)
        assert "long4.txt" in model.left_behind


@pytest.mark.parametrize("name", ["processor_config.json", "video_preprocessor_config.json", "any_other_config.json"])
def test_a_processor_that_asks_for_code_is_refused_where_no_stock_class_computes_the_model(folder, name):
    (folder / "config.json").write_text('{"model_type": "x", "architectures": ["XForCausalLM"]}')
    (folder / name).write_text('{"auto_map": {"AutoProcessor": "processing_x.P"}}')
    with pytest.raises(RemoteCodeRefused, match=name):
        open_checkpoint(folder)


def test_every_writer_carries_them_and_a_merge_says_what_it_leaves(folder, tmp_path, run_cli):
    done = run_cli("merge", folder, folder, "--method", "linear", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert set(_CARRIED) <= {path.name for path in (tmp_path / "out").iterdir()}
    assert "modeling_x.py" in done.stderr and "stay behind" in done.stderr
    assert not {"modeling_x.py", "optimizer.pt", "run.sh"} & {path.name for path in (tmp_path / "out").iterdir()}
