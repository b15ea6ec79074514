"""Files in folders of a model: those that a loader finds by a rule go with the weights, whatever verb writes them."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import tiny_models
from mergebarrier.checkpoint import Writer, layout_like, open_checkpoint, read_manifest, verify_manifest
from mergebarrier.errors import UnsafePath
from model_folders import safetensors_bytes, small_tensors, write_folder

STOCK = "sentence_transformers.models"
DENSE = {"linear.weight": torch.ones(2, 3), "linear.bias": torch.zeros(2)}
FURTHER = {"tool_use": "{{ tools }}", "rag": "{{ documents }}{{ messages }}"}


def modules(*rows: tuple[str, str]) -> str:
    """The list that sentence-transformers writes: the model itself, then (folder, class) of the others."""
    all_rows = [("", f"{STOCK}.Transformer"), *rows]
    return json.dumps([{"idx": i, "name": str(i), "path": p, "type": t} for i, (p, t) in enumerate(all_rows)])


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    """A model as sentence-transformers saves it, beside what other tools leave in its folders."""
    rows = (("1_Pooling", f"{STOCK}.Pooling"), ("2_Dense", f"{STOCK}.Dense"), ("3_Router", f"{STOCK}.Router"))
    texts = {
        "modules.json": modules(*rows),
        "1_Pooling/config.json": '{"pooling_mode_cls_token": true}',
        "2_Dense/config.json": '{"in_features": 3}',
        "3_Router/router_config.json": "{}",
        "3_Router/query_0_Dense/config.json": "{}",
        "qformer_tokenizer/tokenizer_config.json": "{}",
        "qformer_tokenizer/vocab.txt": "[UNK]",
        "onnx/config.json": "{}",
        "checkpoint-10/trainer_state.json": "{}",
        "tokenizer/vocab.txt": "[UNK]",
        "4_Other/config.json": "{}",
    }
    folder = write_folder(tmp_path / "sentences", small_tensors(), side_files=texts)
    (folder / "2_Dense/model.safetensors").write_bytes(safetensors_bytes(DENSE))
    for name in HIDDEN:
        (folder / name).write_bytes(b"\x80\x02")
    return folder


#: Pickles, two under the names of texts.
HIDDEN = ("2_Dense/pytorch_model.bin", "2_Dense/words.model", "words.model")
CARRIED = {
    *("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "3_Router/router_config.json"),
    *("3_Router/query_0_Dense/config.json", "qformer_tokenizer/tokenizer_config.json", "qformer_tokenizer/vocab.txt"),
}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def with_templates(folder: Path, templates: dict[str, str]) -> Path:
    """Save a real tokenizer into a folder; transformers puts all templates but the first in a folder of their own."""
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    fast.chat_template = templates
    fast.save_pretrained(folder)
    return folder


def test_rules_choose_and_the_rest_is_named(sentences: Path) -> None:
    with open_checkpoint(sentences) as model:
        assert {name for name in model.side_files if "/" in name} == CARRIED
        assert "words.model" not in model.side_files
        behind = {"onnx", "checkpoint-10", "tokenizer", "4_Other", *HIDDEN}
        assert set(model.left_behind) == behind
        assert "2_Dense/model.safetensors copied as they are" in "\n".join(model.folder_notes)


def test_every_verb_writes_them(tmp_path: Path, run_cli) -> None:
    source = with_templates(tiny_models.save("llama-gqa-untied", tmp_path / "model"), {"default": "d", **FURTHER})
    (source / "modules.json").write_text(modules(("1_Pooling", f"{STOCK}.Pooling")))
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling/config.json").write_text('{"pooling_mode_lasttoken": true}')
    key, recipe = tmp_path / "k.mbkey", tmp_path / "r.yaml"
    recipe.write_text(f"merge_method: linear\nmodels: [{{model: {source}, parameters: {{weight: 1}}}}]\n")
    runs = {
        "protected": ("protect", source, "--key", key),
        "restored": ("unprotect", tmp_path / "protected", "--key", key),
        "aligned": ("realign", tmp_path / "protected", "--base", source),
        "merged": ("merge", source, source, "--method", "linear"),
        "by_recipe": ("merge", recipe),
    }
    for name, words in runs.items():
        done = run_cli(*words, "-o", tmp_path / name)
        assert done.exit_code == 0, (name, done.stderr)
        out = tmp_path / name
        assert (out / "1_Pooling/config.json").read_bytes() == (source / "1_Pooling/config.json").read_bytes(), name
        tokenizer = AutoTokenizer.from_pretrained(out)
        for template, text in FURTHER.items():
            assert tokenizer.get_chat_template(template) == text, (name, template)
        assert not verify_manifest(out), name
        assert "1_Pooling/config.json" in read_manifest(out)["content"]["output"]["files"]


def test_weights_of_modules_are_the_donors_and_a_merge_says_where_another_has_others(
    sentences: Path, tmp_path: Path, run_cli
) -> None:
    other = write_folder(tmp_path / "other", small_tensors(), side_files={"modules.json": modules()})
    for name in ("1_Pooling", "2_Dense", "5_New_tokenizer"):
        (other / name).mkdir()
    rows = (("1_Pooling", f"{STOCK}.Pooling"), ("2_Dense", f"{STOCK}.Dense"))
    (other / "modules.json").write_text(modules(*rows))
    (other / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (other / "2_Dense/config.json").write_text('{"in_features": 3, "__version__": {"torch": "2"}}')
    (other / "2_Dense/model.safetensors").write_bytes(safetensors_bytes({**DENSE, "linear.bias": torch.ones(2)}))
    (other / "5_New_tokenizer/vocab.txt").write_text("x")
    done = run_cli("merge", sentences, other, "--method", "linear", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert torch.equal(load_file(tmp_path / "out/2_Dense/model.safetensors")["linear.bias"], DENSE["linear.bias"])
    said = " ".join(done.stderr.split())
    names = "modules.json, 1_Pooling/config.json, 2_Dense/model.safetensors"
    assert f"other: {names} differ from those of sentences, which are kept" in said
    assert "other: 5_New_tokenizer/vocab.txt not in the output, whose files are those of sentences" in said


def test_a_base_without_modules_says_that_those_of_the_experts_are_lost(sentences, tmp_path, run_cli) -> None:
    base = write_folder(tmp_path / "base", small_tensors())
    words = ("merge", sentences, sentences, "--base", base, "--method", "task_arithmetic", "-o", tmp_path / "out")
    done = run_cli(*words)
    assert done.exit_code == 0 and "1_Pooling/config.json" in done.stderr and "not in the output" in done.stderr


def test_an_asked_template_replaces_all_and_says_so(tmp_path: Path, run_cli) -> None:
    a = with_templates(tiny_models.save("llama-gqa-untied", tmp_path / "a"), {"default": "d", **FURTHER})
    b = with_templates(tiny_models.save("llama-gqa-untied", tmp_path / "b"), {"default": "d"})
    for asked, kept in (("auto", True), ("chatml", False)):
        rows = "".join(f"  - {{model: {one}, parameters: {{weight: 1}}}}\n" for one in (a, b))
        (tmp_path / "r.yaml").write_text(f"merge_method: linear\nmodels:\n{rows}chat_template: {asked}\n")
        done = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / asked)
        assert done.exit_code == 0, done.stderr
        template = AutoTokenizer.from_pretrained(tmp_path / asked).chat_template
        assert (template == {"default": "d", **FURTHER}) is kept
        assert ("rag, tool_use are left out" in done.stderr) is not kept


def test_a_tokenizer_of_another_model_brings_its_templates(tmp_path: Path, run_cli) -> None:
    a = with_templates(tiny_models.save("llama-gqa-untied", tmp_path / "a"), {"default": "d", "old": "o"})
    b = with_templates(tiny_models.save("llama-gqa-untied", tmp_path / "b"), {"default": "d", **FURTHER})
    rows = "".join(f"  - {{model: {one}, parameters: {{weight: 1}}}}\n" for one in (a, b))
    (tmp_path / "r.yaml").write_text(f"merge_method: linear\nmodels:\n{rows}tokenizer_source: {b}\n")
    done = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == {"default": "d", **FURTHER}


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../../x", "a\\b", ".git", "a/b/c/d", "a//b", 7, ["x"]])
def test_a_list_of_modules_cannot_make_us_read_elsewhere(tmp_path: Path, path: object) -> None:
    text = modules().replace('"path": ""', f'"path": {json.dumps(path)}')
    folder = write_folder(tmp_path / "model", small_tensors(), side_files={"modules.json": text})
    with pytest.raises(UnsafePath, match="not a plain folder"):
        open_checkpoint(folder)


def test_a_folder_or_a_file_that_is_a_link_out_of_the_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret.jinja").write_text("s")
    for number, link in enumerate(("additional_chat_templates", "additional_chat_templates/x.jinja")):
        folder = write_folder(tmp_path / str(number), small_tensors())
        (folder / link).parent.mkdir(exist_ok=True)
        (folder / link).symlink_to(tmp_path / "elsewhere" / ("secret.jinja" if link.endswith("jinja") else ""))
        with pytest.raises(UnsafePath, match="leads out"):
            open_checkpoint(folder)


def test_pipes_loops_and_odd_names_stay_behind(sentences: Path) -> None:
    os.mkfifo(sentences / "1_Pooling/pipe.json")
    (sentences / "1_Pooling/again").symlink_to(sentences / "1_Pooling")
    (sentences / "1_Pooling/a b.json").write_text("{}")
    (sentences / "1_Pooling/run.py").write_text("")
    (sentences / "1_Pooling/code_config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}')
    (sentences / "2_Dense/model.safetensors").write_bytes(b"\x80\x02 no header")
    with open_checkpoint(sentences) as model:
        assert {name for name in model.side_files if "/" in name} == CARRIED - {"2_Dense/model.safetensors"}
        assert {"1_Pooling/pipe.json", "1_Pooling/a b.json", "1_Pooling/run.py"} <= set(model.left_behind)


def test_folders_of_too_many_files_or_bytes_stay_behind(sentences: Path) -> None:
    for number in range(300):
        (sentences / f"1_Pooling/{number}.json").write_text("{}")
    for number in range(5):
        with (sentences / f"2_Dense/{number}.txt").open("wb") as file:
            file.truncate(15 * 2**20)
    with open_checkpoint(sentences) as model:
        assert not any(name.startswith("1_Pooling") for name in model.side_files) and "1_Pooling" in model.left_behind
        assert "2_Dense/3.txt" in model.side_files and "2_Dense/4.txt" in model.left_behind


@pytest.mark.parametrize("text", ["not JSON", '[{"path": "1_Pooling", "type": "custom_st.Pooling"}]', "[7]"])
def test_a_list_of_modules_that_names_other_classes_stays_behind(sentences: Path, text: str) -> None:
    (sentences / "modules.json").write_text(text)
    with open_checkpoint(sentences) as model:
        assert {"modules.json", "1_Pooling", "2_Dense"} <= set(model.left_behind)


def copy(source: Path, out: Path, **flags: bool) -> Path:
    with open_checkpoint(source) as model:
        writer = Writer.create(out, layout_like(model), plan={"method": "copy"}, inputs=[source], **flags)
        for name in model.tensors:
            if not writer.done(name):
                writer.put(name, model.read(name))
                writer.finish(name, [name])
        return writer.commit({"verb": "copy"}, {}, {name: model.read_side_file(name) for name in model.side_files})


def test_overwriting_takes_away_what_the_manifest_lists_and_no_folder_is_left(sentences, tmp_path, run_cli) -> None:
    out = copy(sentences, tmp_path / "out")
    assert files(out) >= CARRIED
    plain = write_folder(tmp_path / "plain", small_tensors())
    words = ("merge", plain, plain, "--method", "linear", "-o", out, "--overwrite")
    for mine in ("1_Pooling/mine.txt", "3_Router/new/file"):
        (out / mine).parent.mkdir(exist_ok=True)
        (out / mine).write_text("mine")
        refused = run_cli(*words)
        assert refused.exit_code == 2 and "MB1011" in refused.stderr and (out / mine).read_text() == "mine"
        (out / mine).unlink()
        if mine.endswith("file"):
            (out / mine).parent.rmdir()
    assert run_cli(*words).exit_code == 0
    assert not any(path.is_dir() for path in out.iterdir())


def test_a_run_that_died_among_them_is_resumed(sentences: Path, tmp_path: Path) -> None:
    whole = copy(sentences, tmp_path / "whole")
    with open_checkpoint(sentences) as model:
        writer = Writer.create(tmp_path / "out", layout_like(model), plan={"method": "copy"}, inputs=[sentences])
        for name in model.tensors:
            writer.put(name, model.read(name))
            writer.finish(name, [name])
        writer.close()
    model = tmp_path / "out.partial/model"
    (model / "mergebarrier.json.new").write_bytes((whole / "mergebarrier.json").read_bytes())  # drafted before the rest
    half = model / "3_Router/query_0_Dense"
    half.mkdir(parents=True)
    (half / "config.json").write_text("{")
    out = copy(sentences, tmp_path / "out", resume=True)
    assert {name: (out / name).read_bytes() for name in files(out)} == {
        name: (whole / name).read_bytes() for name in files(whole)
    }


@pytest.mark.parametrize("name", ["1_Pooling/config.json", "2_Dense/model.safetensors"])
def test_a_changed_or_added_file_below_does_not_verify(sentences: Path, tmp_path: Path, name: str) -> None:
    out = copy(sentences, tmp_path / "out")
    assert verify_manifest(out) == []
    data = (out / name).read_bytes()
    (out / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert [problem.split(":")[0] for problem in verify_manifest(out)] == [name]
    (out / name).write_bytes(data)
    (out / "1_Pooling/model.safetensors").write_bytes(b"")
    assert [problem.split(":")[0] for problem in verify_manifest(out)] == ["1_Pooling/model.safetensors"]
