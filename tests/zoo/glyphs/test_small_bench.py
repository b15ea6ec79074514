"""The committed base is what it says; a fine-tune, a merge and a score work on its folders from the command line."""

import hashlib
import json
from importlib.resources import files

import pytest
import torch

from mergebarrier import zoo
from mergebarrier.checkpoint import open_checkpoint, read_manifest, read_tensor_file, verify_manifest
from mergebarrier.evaluate import accuracy, encoder_tensors, load_encoder, read_image_task, save_encoder
from mergebarrier.training import FullRecipe
from mergebarrier.zoo.base.image_experts import fine_tune
from mergebarrier.zoo.glyphs import glyph_file
from mergebarrier.zoo.glyphs.glyphs import NAMES

SHA256 = "aacf96b00751cd0f3b181ac93ddda337c902ca17cccf06489721057241f44669"


def load(folder):
    with open_checkpoint(folder) as checkpoint:
        return load_encoder(checkpoint)


def task_of(bench, name: str):
    return read_image_task(bench[name] / f"{name}.task.safetensors")


def test_the_committed_file_is_the_one_that_was_made() -> None:
    data = files("mergebarrier.zoo").joinpath("data", "glyph_base.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256 and len(data) < 1_000_000
    base = glyph_file.load()
    assert sum(tensor.numel() for tensor in base.tensors.values()) == 381_984
    assert base.bank.shape == (138, 64) and torch.allclose(base.bank.norm(dim=1), torch.ones(138))


def test_the_folder_holds_the_committed_values_in_float32(bench) -> None:
    tensors = encoder_tensors(load(bench["glyph-base"]))
    committed = glyph_file.load().tensors
    assert tensors.keys() == committed.keys()
    assert all(torch.equal(tensors[name], committed[name]) for name in tensors)
    verify_manifest(bench["glyph-base"])
    assert read_manifest(bench["glyph-base"])["content"]["asset"] == "glyph-base"


def test_the_names_are_the_rows_of_every_head(bench) -> None:
    tensors, about = read_tensor_file(bench["glyph-names"] / "names.safetensors")
    assert about == {"names": list(NAMES), "scale": 20.0}
    task = task_of(bench, "symbols")
    rows = [about["names"].index(name) for name in task.classes]
    assert torch.equal(tensors["vectors"][rows], task.head)


@pytest.mark.parametrize("name", ["latin", "symbols"])
def test_a_drawn_task_has_its_sizes_and_the_base_knows_it_a_little(name: str, bench) -> None:
    task = task_of(bench, name)
    assert [len(split) for split in task.splits().values()] == [2500, 300, 800] and len(task.classes) == 26
    assert not any(torch.equal(task.train.images[i], task.test.images[i]) for i in range(50))
    score = accuracy(load(bench["glyph-base"]), task.head, task.scale, task.test)
    assert 0.65 < score.rate < 0.88, "zero-shot, on purpose far from perfect"


@pytest.fixture(scope="module")
def experts(bench, tmp_path_factory):
    """Short fine-tunes, written as folders: name -> (folder, losses)."""
    made = {}
    for name in ("latin", "symbols"):
        with open_checkpoint(bench["glyph-base"]) as like:
            encoder = load_encoder(like)
            losses = fine_tune(encoder, task_of(bench, name), FullRecipe(steps=60, warmup_steps=6))
            made[name] = save_encoder(encoder, like, tmp_path_factory.mktemp("e") / name, {"verb": "test"}), losses
    return made


def test_a_fine_tune_learns_its_task(experts, bench, run_cli) -> None:
    folder, losses = experts["latin"]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    scored = run_cli("evaluate", folder, "--task", bench["latin"] / "latin.task.safetensors", "--json").json
    (row,) = scored["tasks"]
    assert (row["name"], row["classes"], row["total"]) == ("latin", 26, 800)
    assert 0.85 < row["rate"] < row["high"] and row["low"] < row["rate"]


@pytest.mark.parametrize(
    "options",
    [
        ("--method", "linear"),
        ("--method", "task_arithmetic", "--coefficient", "0.3"),
        ("--method", "ties", "--density", "0.2", "--coefficient", "0.3"),
        ("--method", "dare_linear", "--density", "0.1", "--coefficient", "0.3"),
    ],
)
def test_the_merge_engine_takes_encoders_as_it_takes_any_model(options, experts, bench, run_cli, tmp_path) -> None:
    out, tasks = tmp_path / "merged", [task_of(bench, name) for name in experts]
    based = () if options[1] == "linear" else ("--base", bench["glyph-base"])
    folders = [folder for folder, _ in experts.values()]
    ran = run_cli("merge", *folders, *based, *options, "-o", out)
    assert ran.exit_code == 0, ran.stderr
    ran = run_cli("evaluate", out, "--task", bench["latin"] / "latin.task.safetensors", "--max-items", "400")
    assert ran.exit_code == 0, ran.stderr
    assert "accuracy" in ran.stdout and "400 images" in ran.stdout
    merged, base = load(out), load(bench["glyph-base"])
    gains = [accuracy(merged, *arguments).rate - accuracy(base, *arguments).rate for arguments in map(_headed, tasks)]
    assert min(gains) > 0.02, "one model got better at both tasks"


def _headed(task):
    return task.head, task.scale, task.test


def test_images_and_text_are_not_scored_in_one_call(bench, run_cli, tmp_path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"prompt": "a", "answer": "b"}) + "\n")
    task = bench["latin"] / "latin.task.safetensors"
    for more in (("--task", tmp_path / "t.jsonl"), ("--text", tmp_path / "t.jsonl")):
        ran = run_cli("evaluate", bench["glyph-base"], "--task", task, *more)
        assert ran.exit_code == 64 and "images and text in two runs" in ran.stderr


def test_a_language_model_and_a_broken_task_are_refused_with_one_line(bench, run_cli, tmp_path) -> None:
    import model_folders

    llama = model_folders.write_folder(tmp_path / "llama", model_folders.small_tensors())
    task = bench["latin"] / "latin.task.safetensors"
    ran = run_cli("evaluate", llama, "--task", task)
    assert ran.exit_code == 2 and ran.stderr.startswith("error: MB2001 ") and ran.stderr.count("\n") == 1
    broken = tmp_path / "x.task.safetensors"
    broken.write_bytes(task.read_bytes()[:1000])
    ran = run_cli("evaluate", bench["glyph-base"], "--task", broken)
    assert ran.exit_code == 2 and ran.stderr.startswith("error: MB9001 ") and ran.stderr.count("\n") == 1


def test_the_zoo_lists_the_bench_and_finds_it_without_the_network(bench, run_cli, monkeypatch) -> None:
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(bench["glyph-base"].parents[2]))
    states = {row["name"]: row["state"] for row in run_cli("zoo", "list", "--json").json["assets"]}
    assert states["glyph-base"] == states["latin"] == "ready"
    assert states["greek"] == states["glyph-expert-latin"] == "local"
    assert run_cli("zoo", "path", "latin").stdout.strip() == str(bench["latin"])


def test_a_bench_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="small, full, dino"):
        zoo.vision_bench("huge")
