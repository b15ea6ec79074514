"""Clone a small classifier from its answers, and train members that are to resist, by the command line."""

import dataclasses
from pathlib import Path

import pytest

import tiny_bench
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import ImageSplit, read_image_task, write_image_task

FAST = ("--steps", "60", "--learning-rate", ".002", "--batch-size", "32")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tiny_bench.Tiny:
    return tiny_bench.make(tmp_path_factory.mktemp("tiny"))


def test_clones_learn_and_what_they_ask_counts(tiny, run_cli) -> None:
    ran = run_cli(
        "extract", "clone", tiny.expert, "--task", tiny.task, "--start", tiny.base, "--queries", 100, *FAST, "--json",
        "--attacks", "soft,hard", "--defences", "none,top1",
    )  # fmt: skip
    assert ran.exit_code == 0, ran.stderr
    clones = {(one["defence"], one["attack"]): one for one in ran.json["clones"]}
    assert list(clones) == [("none", "soft"), ("none", "hard"), ("top1", "soft"), ("top1", "hard")]
    assert {one["queries"] for one in clones.values()} == {100}
    assert ran.json["before"]["rate"] < 0.5, "a score has its null: what the clone knew before it asked"
    assert all(one["utility"]["rate"] > 0.9 and one["clone"]["rate"] > 0.8 for one in clones.values())
    assert clones["none", "hard"] == {**clones["top1", "hard"], "defence": "none"}, "a label is a label"


def test_without_data_the_budget_is_kept(tiny, run_cli) -> None:
    attack = ("extract", "clone", tiny.expert, "--task", tiny.task, "--start", tiny.base, "--attacks", "data_free")
    ran = run_cli(*attack, "--queries", 1000, "--batch-size", 32, "--json")
    assert ran.exit_code == 0 and ran.json["clones"][0]["queries"] == 4 * 7 * 32
    ran = run_cli(*attack, "--queries", 100, "--batch-size", 32)
    assert ran.exit_code == 2 and "asks about 224 pictures" in ran.stderr


def test_members_of_an_ensemble_answer_as_one(tiny, tmp_path: Path, run_cli) -> None:
    members = []
    for seed in (1, 2):
        members.append(tmp_path / f"member-{seed}")
        words = ("--task", tiny.task, "--start", tiny.base, "--seed", seed, *FAST, "-o", members[-1])
        plan = run_cli("extract", "defend", tiny.expert, *words, "--dry-run", "--json")
        assert plan.json["method"] == "misleader" and not members[-1].exists()
        ran = run_cli("extract", "defend", tiny.expert, *words, "--json")
        assert ran.exit_code == 0 and ran.json["member"] > 0.8, ran.stderr
        with open_checkpoint(members[-1]) as made:
            assert made.content_digest() == ran.json["content_digest"]
    ran = run_cli(
        "extract", "clone", *members, "--task", tiny.task, "--start", tiny.base, *FAST, "--attacks", "logits", "--json"
    )
    assert ran.json["victims"] == [str(one) for one in members] and ran.json["clones"][0]["utility"]["rate"] > 0.8


def test_pictures_of_another_kind_are_refused(tiny, run_cli) -> None:
    ran = run_cli(
        "extract", "clone", tiny.expert, "--task", tiny.task, "--start", tiny.base, "--pool", tiny.base / "config.json"
    )
    assert ran.exit_code == 2 and ran.stderr.count("\n") == 1
    ran = run_cli("extract", "clone", tiny.expert, "--task", tiny.task, "--start", tiny.base, "--attacks", "guess")
    assert ran.exit_code == 64 and "guess" in ran.stderr


def test_models_that_do_not_know_the_task_and_victims_named_twice_are_refused(tiny, tmp_path: Path, run_cli) -> None:
    clone, task = ("extract", "clone"), ("--task", tiny.task, "--start", tiny.base)
    ran = run_cli(*clone, tiny.base, *task)
    assert ran.exit_code == 2 and "guessing is on 25.0%: nothing can be concluded" in ran.stderr
    bright = read_image_task(tiny.task)
    ten = ImageSplit(bright.test.images[:1].repeat(10, 1, 1, 1), bright.test.labels[:1].repeat(10))
    write_image_task(dataclasses.replace(bright, test=ten), tmp_path / "ten.task.safetensors")
    ran = run_cli(*clone, tiny.expert, "--task", tmp_path / "ten.task.safetensors", "--start", tiny.base)
    assert ran.exit_code == 2 and "right on 1 of 1 test pictures" in ran.stderr, "ten copies are one picture"
    ran = run_cli("extract", "defend", tiny.base, *task, "-o", tmp_path / "member")
    assert ran.exit_code == 2 and "the teacher is right on" in ran.stderr and not (tmp_path / "member").exists()
    with_stranger = run_cli(*clone, tiny.expert, tiny.partner, *task)
    assert with_stranger.exit_code == 2 and f"{tiny.partner}: the victim is right on" in with_stranger.stderr
    ran = run_cli(*clone, tiny.expert, "--task", tiny.task, "--start", tiny.expert)
    assert ran.exit_code == 2 and "was not learned from answers" in ran.stderr, "a clone that knows all before it asks"
    write_image_task(dataclasses.replace(bright, test=bright.train), tmp_path / "seen.task.safetensors")
    ran = run_cli(*clone, tiny.expert, "--task", tmp_path / "seen.task.safetensors", "--start", tiny.base)
    assert ran.exit_code == 2 and "are among those that are learned from" in ran.stderr
    ran = run_cli("extract", "defend", tiny.expert, *task, "--steps", 1, "-o", tmp_path / "member")
    assert ran.exit_code == 2 and "the member is right on" in ran.stderr and not (tmp_path / "member").exists()
    ran = run_cli(*clone, tiny.expert, tiny.expert, *task)
    assert ran.exit_code == 64 and "count twice" in ran.stderr
