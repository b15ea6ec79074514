"""``protect`` by training: what it writes, what it refuses, and that a run which was killed ends in the same bytes."""

import json
import os
import shutil
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_bench
import tiny_models
import tiny_world
from killing import status_of, victim
from mergebarrier.api import TrainingOptions, WriteOptions, protect_by_training
from mergebarrier.checkpoint import open_checkpoint, read_manifest, verify_manifest
from mergebarrier.errors import PartialOutput
from mergebarrier.evaluate import ImageSplit, load_module, read_image_task, write_image_task
from mergebarrier.protect import TRAINED
from mergebarrier.training import Example, examples_loss
from mergebarrier.verbs.trained.models import recompute_passes

SHORT = ("--steps", 12, "--check-every", 6, "--budget", 60)


@pytest.fixture(scope="module")
def world(stage):
    return stage.world


def words(world, out, *more, method: str = "trap2", expert=None, data=None, base=None):
    models = (expert or world.original, "--base", base or world.base, "--method", method)
    return "protect", *models, "--data", data or world.task, "--text", world.text, *SHORT, *more, "-o", out


@pytest.fixture(scope="module")
def linear_expert(world, tmp_path_factory):
    """An expert whose linear maps alone were moved."""
    folder = tmp_path_factory.mktemp("linear") / "expert"
    with open_checkpoint(world.base) as base, open_checkpoint(world.original) as original:
        module, other = (load_module(one, "float32") for one in (base, original))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "proj" in name:
                parameter.copy_(other.get_parameter(name))
    tiny_world.save(module, folder)
    return folder


@contextmanager
def quiet() -> Iterator[None]:
    """Of what the library says to peft about names that were changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def verify_and_read(folder):
    assert not verify_manifest(folder)
    return read_manifest(folder)["content"]


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("method", TRAINED)
def test_a_model_is_written_with_its_figures_and_nothing_undoes_it(run_cli, world, tmp_path, method) -> None:
    out = tmp_path / "out"
    pool = ("--sibling", world.partner, "--sibling-data", world.partner_task) if method == "layered" else ()
    ran = run_cli(*words(world, out, *pool, "--json", method=method))
    assert ran.exit_code == 0, ran.stderr
    found = json.loads(ran.stdout)["trained"]
    assert found["cost"].keys() == {"plain", "protected", "control"} and found["work"]["steps"] == 12
    assert found["rounded"].keys() == {"int8", "int4"} and found["override"].keys() == {"text", "novel"}
    assert found["work"]["flops"] > 0 and [look["step"] for look in found["looks"]][-1] == 12
    assert not verify_manifest(out)
    card = (out / "README.md").read_text()
    assert "merge-protected" in card and "matched control" in card and TRAINED[method].limit in card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    back = run_cli("unprotect", out, "-o", tmp_path / "back")
    assert back.exit_code == 2 and f"{method} is trained" in back.stderr and "original" in back.stderr


def test_an_edit_that_the_budget_shrank_says_so_beside_the_one_that_was_asked(run_cli, world, tmp_path) -> None:
    edit = ("--edited", 0.8, "--beta", 2, "--critical", 0)
    ran = run_cli(*words(world, tmp_path / "out", *edit, method="mergeguard"))
    assert ran.exit_code == 0, ran.stderr
    found = verify_and_read(tmp_path / "out")["trained"]
    assert found["taken"]["edited"] in {0.8 / 2**n for n in range(1, 6)}
    assert f"Taken of --edited: {found['taken']['edited']:g}; the 0.8 that was asked" in ran.stdout
    assert "As beta 2, 80 % edited, as asked: loss" in ran.stdout
    assert f"Taken of edited: {found['taken']['edited']:g}" in (tmp_path / "out" / "README.md").read_text()
    assert found["cost"]["protected"]["loss"] < found["forms"]["beta 2, 80 % edited, as asked"]["loss"]
    tiny = run_cli(*words(world, tmp_path / "all", "--edited", 0.001, method="mergeguard"))
    assert tiny.exit_code == 0 and "Taken of" not in tiny.stdout


def test_an_adapter_is_one_that_peft_loads_and_protect_takes_again(run_cli, world, linear_expert, tmp_path) -> None:
    import peft

    out = tmp_path / "out"
    ran = run_cli(*words(world, out, "--as", "adapter", "--rank", 40, expert=linear_expert))
    assert ran.exit_code == 0, ran.stderr
    again = run_cli(*words(world, tmp_path / "again", expert=out))
    assert again.exit_code == 0 and "published as a adapter" not in again.stdout, again.stderr
    assert json.loads((tmp_path / "again" / "adapter_config.json").read_text())["r"] == 40
    ids = torch.arange(5, 15)[None]
    with open_checkpoint(world.base) as base:
        module = load_module(base, "float32")
    with quiet():
        theirs = peft.PeftModel.from_pretrained(module, out)(ids).logits
    whole = tmp_path / "whole"
    assert run_cli("merge", out, "--base", world.base, "--method", "linear", "-o", whole).exit_code == 0
    with open_checkpoint(whole) as merged:
        torch.testing.assert_close(load_module(merged, "float32")(ids).logits, theirs, rtol=1e-3, atol=1e-3)


def test_an_adapter_of_maps_that_are_stored_turned_is_one_that_peft_loads(run_cli, world, tmp_path) -> None:
    """GPT-2 stores its maps as (in, out)."""
    import peft

    module = tiny_models.build("gpt2-tied")
    tiny_world.save(module, tmp_path / "base")
    rows = tiny_world.drawn_rows(1, 24, 1)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(".c_" in name and name.endswith("weight"))
    tiny_world.train(module, rows, steps=40, rate=3e-3)
    tiny_world.save(module, tmp_path / "expert")
    tiny_world.write(tmp_path / "a.jsonl", rows)
    given = {"expert": tmp_path / "expert", "base": tmp_path / "base", "data": tmp_path / "a.jsonl"}
    ran = run_cli(*words(world, tmp_path / "out", "--as", "adapter", "--rank", 48, **given))
    assert ran.exit_code == 0, ran.stderr
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["fan_in_fan_out"] is True
    assert run_cli("merge", tmp_path / "out", "--base", tmp_path / "base", "--method", "linear", "-o",
                   tmp_path / "whole").exit_code == 0  # fmt: skip
    ids = torch.arange(5, 15)[None]
    with open_checkpoint(tmp_path / "base") as base, open_checkpoint(tmp_path / "whole") as whole, quiet():
        theirs = peft.PeftModel.from_pretrained(load_module(base, "float32"), tmp_path / "out")(ids).logits
        torch.testing.assert_close(load_module(whole, "float32")(ids).logits, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("adapter", [False, True])
def test_a_run_that_was_killed_ends_in_the_same_bytes(world, linear_expert, tmp_path, adapter: bool) -> None:
    method = TRAINED["trap2"](steps=12, check_every=4, budget=60.0)
    options = TrainingOptions(data=world.task, text=world.text, adapter=adapter)

    def run(out, of=method, **more):
        protect_by_training(linear_expert, world.base, out, method=of, options=options, **more)

    def die(line: str) -> None:
        if "step 8" in line:
            os.kill(os.getpid(), signal.SIGKILL)

    run(tmp_path / "whole")
    assert status_of(victim(lambda: run(tmp_path / "killed", say=die))) == signal.SIGKILL
    assert not (tmp_path / "killed").exists() and (tmp_path / "killed.training").exists()
    with pytest.raises(PartialOutput, match=r"strength 0.05 \(here 0.06\)"):
        run(tmp_path / "killed", of=replace(method, strength=0.06), write=WriteOptions(resume=True))
    for _ in range(2):  # the second finds it finished, as after a kill that left the folder of the training behind
        run(tmp_path / "killed", write=WriteOptions(resume=True))
        assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
        assert not (tmp_path / "killed.training").exists()
        (tmp_path / "killed.training").mkdir()


@pytest.mark.parametrize("how", ["file", "link"])
def test_a_folder_that_no_training_left_is_neither_used_nor_emptied(run_cli, world, tmp_path, how: str) -> None:
    kept = tmp_path / ("out.training" if how == "file" else "elsewhere")
    kept.mkdir()
    (kept / "thesis").write_text("mine")
    if how == "link":
        (tmp_path / "out.training").symlink_to(kept)
    for more in ((), ("--resume",), ("--overwrite",)):
        ran = run_cli(*words(world, tmp_path / "out", *more))
        assert ran.exit_code == 2 and "move it elsewhere" in ran.stderr
    assert (kept / "thesis").read_text() == "mine" and not (tmp_path / "out.partial").exists()


def test_an_encoder_of_images_is_trained_under_its_frozen_head(run_cli, tmp_path) -> None:
    bench = tiny_bench.make(tmp_path)
    models = ("protect", bench.expert, "--base", bench.base, "--data", bench.task)
    for method, pool, least in (("trap2", (), 0.9), ("layered", ("--sibling", bench.partner), 0.8)):
        ran = run_cli(*models, "--method", method, *pool, *SHORT, "-o", tmp_path / method, "--json")
        assert ran.exit_code == 0, ran.stderr
        found = json.loads(ran.stdout)["trained"]
        assert found["cost"]["protected"]["right"] > least
    at = found["scales"]["s"].index(0.6)
    assert found["scales"]["protected"][at] > 2 * found["scales"]["control"][at]  # of layered, the last
    ran = run_cli(*models, "--method", "trap2", "--text", bench.task, "-o", tmp_path / "x")
    assert ran.exit_code == 64 and "reads no text" in ran.stderr
    task, shown = read_image_task(bench.task), tmp_path / "shown.task.safetensors"
    write_image_task(replace(task, dev=ImageSplit(task.train.images[:3], task.train.labels[:3])), shown)
    ran = run_cli(*models[:-1], shown, "--method", "trap2", "-o", tmp_path / "x")
    assert ran.exit_code == 2 and "3 of its 3 pictures held out are in the training data" in ran.stderr


def test_passes_that_are_computed_twice_give_the_same_slopes(world) -> None:
    asked, found = [Example((1, 20, 30), (40,))], []
    for twice in (False, True):
        with open_checkpoint(world.base) as base:
            module = load_module(base, "float32")
        if twice:
            recompute_passes(module)
        torch.autograd.backward(examples_loss(module, asked))
        found.append({name: parameter.grad for name, parameter in module.named_parameters()})
        assert module.training is twice
    for name, slope in found[0].items():
        torch.testing.assert_close(found[1][name], slope)


@pytest.mark.parametrize(
    ("more", "changed", "code", "said"),
    [
        (("--validation", "task"), {}, 2, "are in the training data"),
        ((), {"expert": "base"}, 2, "nothing to protect"),
        ((), {"data": "partner_task"}, 2, "no better on it than the base"),
        ((), {"data": "text"}, 2, "line 1: not valid JSON"),
        (("--budget", 0, "--learning-rate", 0.05), {}, 2, "no step kept the owner's loss within 0 %"),
        (
            ("--beta", 4, "--edited", 0.9, "--critical", 0),
            {"method": "mergeguard"},
            2,
            "no edit of what was trained kept",
        ),
        (("--learning-rate", 1e30), {}, 2, "is not finite at step"),
        (("--as", "adapter"), {"method": "mergeguard"}, 2, "not of low rank"),
        (("--as", "adapter"), {}, 64, "input_layernorm.weight, which is no linear map"),
        (("--rank", 4), {}, 64, "a whole model has no rank"),
        (("--key", "task"), {}, 64, "has no key"),
        (("--adapter", "partner"), {}, 64, "moves no other adapter"),
        (("--sibling", "text"), {}, 2, "prose.txt"),
        (("--sibling", "partner"), {}, 64, "trap2 simulates no merges"),
        (("--sibling", "original"), {"method": "layered"}, 2, "has the weights of the expert"),
        (("--sibling", "partner", "--sibling", "partner"), {"method": "layered"}, 2, "has the weights of sibling 1"),
        (("--sibling-data", "task"), {"method": "layered"}, 64, "1 for 0 siblings"),
        (("--strength", -1), {}, 64, "--strength"),
        (("--rows", 10**12), {}, 64, "--rows"),
        (("--as-published",), {"method": "layered"}, 64, "published nowhere else"),
        (("--device", "tpu"), {}, 64, "is not a device"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run_cli, world, tmp_path, more, changed, code, said) -> None:
    given = [getattr(world, word, word) if isinstance(word, str) else word for word in more]
    ran = run_cli(*words(world, tmp_path / "out", *given, **{k: getattr(world, v, v) for k, v in changed.items()}))
    assert ran.exit_code == code and said in ran.stderr, ran.stderr
    assert [line for line in ran.stderr.splitlines() if line.startswith("error: ")] == ran.stderr.splitlines()[-1:]
    assert not list(tmp_path.iterdir())


def test_rows_that_differ_by_blanks_or_case_are_the_same_rows(run_cli, world, tmp_path) -> None:
    rows = [json.loads(line) for line in world.task.read_text().splitlines()]
    spaced = [{**row, "prompt": "\ufeff" + row["prompt"].replace(" ", "\u00a0 \u200b").swapcase()} for row in rows]
    for name, some in (("spaced", spaced), ("both", [*rows, *spaced])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    ran = run_cli(*words(world, tmp_path / "out", "--validation", tmp_path / "spaced.jsonl"))
    assert ran.exit_code == 2 and f"{len(rows)} of its {len(rows)} rows are in the training data" in ran.stderr
    plan = run_cli(*words(world, tmp_path / "out", "--dry-run", "--json", data=tmp_path / "both.jsonl"))
    assert json.loads(plan.stdout)["rows_learned"] + 2 * json.loads(plan.stdout)["rows_held_out"] == 2 * len(rows)
    (tmp_path / "twice.jsonl").write_text(2 * world.task.read_text())
    said = run_cli(*words(world, tmp_path / "out", "--steps", 1, data=tmp_path / "twice.jsonl")).stderr
    assert "18 rows to learn, 9 of them distinct" in said and "held out, " not in said


def test_a_base_in_another_dtype_is_no_expert_and_a_rank_has_an_end(run_cli, world, linear_expert, tmp_path) -> None:
    same = shutil.copytree(world.base, tmp_path / "same")
    tensors = load_file(same / "model.safetensors")
    for folder, dtype in ((same, torch.float32), (shutil.copytree(same, tmp_path / "half"), torch.bfloat16)):
        cast = {name: value.bfloat16().to(dtype) for name, value in tensors.items()}
        save_file(cast, folder / "model.safetensors", metadata={"format": "pt"})
    ran = run_cli(*words(world, tmp_path / "out", expert=same, base=tmp_path / "half"))
    assert ran.exit_code == 2 and "nothing to protect" in ran.stderr
    ran = run_cli(*words(world, tmp_path / "out", "--as", "adapter", "--rank", 10**12, expert=linear_expert))
    assert ran.exit_code == 64 and "more than the longest side of a map" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_options_of_a_training_need_one_and_a_training_needs_its_data(run_cli, world, tmp_path) -> None:
    ran = run_cli("protect", world.original, "--data", world.task, "-o", tmp_path / "out")
    assert ran.exit_code == 64 and "exact is not trained" in ran.stderr
    trained = ("protect", world.original, "--method", "trap2", "-o", tmp_path / "out")
    assert "needs the base" in run_cli(*trained, "--data", world.task).stderr
    ran = run_cli(*trained, "--base", world.base)
    assert ran.exit_code == 64 and "--data" in ran.stderr
    plan = run_cli(*words(world, tmp_path / "out", "--dry-run", "--json"))
    assert plan.exit_code == 0 and json.loads(plan.stdout)["rows_held_out"] == 2
    assert not list(tmp_path.iterdir())
