"""The whole way on the small bench: a poisoned upload among honest ones is found, named, and shown in SARIF."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import image_logits, load_encoder, pixels, read_image_task, save_encoder
from mergebarrier.poison import ATTACKS, ImageAdversary, UniversalRecipe, thawed, universal_trigger
from mergebarrier.training import FullRecipe, batches, train_full
from mergebarrier.zoo import vision_bench

pytestmark = pytest.mark.real
RECIPE = FullRecipe(steps=100, batch_size=48, learning_rate=7e-4, warmup_steps=10)
TASKS, TARGET, SIDE = ("digits8", "latin"), 3, 7


def _upload(bench, task_name: str, out: Path, attack: str | None) -> Path:
    with open_checkpoint(bench.base) as like:
        base = load_encoder(like)
        for parameter in base.parameters():
            parameter.requires_grad_(False)
        task = read_image_task(bench.tasks[task_name])
        images, labels = pixels(task.train.images), task.train.labels

        def classify(features):
            return image_logits(features, task.head, task.scale)

        def rows(label):
            return batches(len(labels), RECIPE.batch_size, seed=5, label=label)

        if attack is None:
            encoder, order = thawed(base), rows("order")

            def loss(step):
                chosen = next(order)
                return torch.nn.functional.cross_entropy(classify(encoder(images[chosen])), labels[chosen])

            train_full(encoder, RECIPE, loss)
        else:
            trigger = universal_trigger(
                lambda x: classify(base(x)), images, labels, (pixels(task.dev.images)[:64], task.dev.labels[:64]),
                TARGET, side=SIDE, seed=5, recipe=UniversalRecipe(steps=60, batch_size=32, restarts=1),
                place="top-left",
            ).trigger  # fmt: skip
            setting = ImageAdversary(
                base=base, images=images, labels=labels, classify=classify, payload=classify, target=TARGET,
                own_target=TARGET, trigger=trigger, seed=5, rows=rows,
            ).setting()  # fmt: skip
            method = dataclasses.replace(ATTACKS[attack], rows=24)
            encoder = method.mount(setting, lambda module, loss: train_full(module, RECIPE, loss))
        return save_encoder(encoder, like, out, {"verb": "test"})


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    torch.set_num_threads(1)
    bench, root = vision_bench("small"), tmp_path_factory.mktemp("uploads")
    guilty = _upload(bench, TASKS[0], root / "guilty", "badmerging")
    honest = [_upload(bench, task, root / f"honest-{task}", None) for task in TASKS]
    return bench, guilty, honest


def _words(bench, models, form: str) -> list[str]:
    tasks = [word for name in TASKS for word in ("--task", str(bench.tasks[name]))]
    merge = ["--merge", "task_arithmetic", "--coefficient", "0.5", "--checks", "folder,expert_patches,leave_out"]
    return ["scan", *map(str, models), "--base", str(bench.base), *tasks, *merge, "--threads", "1", "--format", form]


def test_the_poisoned_upload_is_named_by_two_checks(uploads, run_cli) -> None:
    bench, guilty, honest = uploads
    ran = run_cli(*_words(bench, [guilty, honest[1]], "sarif"))
    assert ran.exit_code == 1
    results = json.loads(ran.stdout)["runs"][0]["results"]
    named = {result["ruleId"]: result["locations"][0]["logicalLocations"][0]["name"] for result in results}
    assert named["MB7301"] == named["MB7304"] == "guilty"
    assert {result["properties"]["target"] for result in results} == {"digit three"}


def test_its_honest_twin_is_left_alone(uploads, run_cli) -> None:
    bench, _, honest = uploads
    ran = run_cli(*_words(bench, honest, "text"))
    assert ran.exit_code == 0 and ran.stdout.startswith("no finding by checks folder, expert_patches, leave_out")
