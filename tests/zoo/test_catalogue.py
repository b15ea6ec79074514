"""The keys of the cache follow every ingredient, and the tasks are what their description says."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from mergebarrier.evaluate import read_task
from mergebarrier.zoo import ASSETS
from mergebarrier.zoo.base.assets import key_of
from mergebarrier.zoo.language import words as _tasks

TASKS = [name for name, asset in ASSETS.items() if asset.kind == "task"]


def test_every_need_exists_and_comes_before_what_needs_it() -> None:
    seen: list[str] = []
    for name, asset in ASSETS.items():
        assert name == asset.name and re.fullmatch(r"[a-z0-9-]+", name)
        assert asset.licence and asset.kind in ("model", "text", "task", "images", "names", "raw")
        assert all(need in seen for need in asset.needs)
        seen.append(name)


def test_every_package_is_pinned_by_version_and_hash() -> None:
    for asset in ASSETS.values():
        for package in asset.packages:
            assert re.fullmatch(r"[0-9a-f]{64}", package.archive_sha256)
            assert re.fullmatch(r"[0-9a-f]{64}", package.member_sha256)
            assert package.version in package.archive and package.member_bytes > 0
            assert package.index in ("pypi", "npm", "debian")
        assert len({(package.distribution, package.version) for package in asset.packages}) <= 1
        assert len({Path(package.member).name for package in asset.packages}) == len(asset.packages)


def test_a_change_of_any_ingredient_makes_another_folder() -> None:
    asset = ASSETS["expert-items"]
    key = key_of(asset, {"smollm2": "a"})
    assert re.fullmatch(r"[0-9a-f]{16}", key) and key == key_of(asset, {"smollm2": "a"})
    others = [
        key_of(asset, {"smollm2": "b"}),
        key_of(dataclasses.replace(asset, version=asset.version + 1), {"smollm2": "a"}),
        key_of(dataclasses.replace(asset, settings={**asset.settings, "seed": 1}), {"smollm2": "a"}),
        key_of(dataclasses.replace(asset, packages=ASSETS["kjv"].packages), {"smollm2": "a"}),
    ]
    assert len({key, *others}) == 5


@pytest.mark.parametrize("task", TASKS)
def test_the_splits_share_no_word_and_the_test_is_large_enough(task: str) -> None:
    splits = _tasks.splits(task)
    prompts = {name: [row["prompt"] for row in rows] for name, rows in splits.items()}
    everything = [prompt.casefold() for name in prompts for prompt in prompts[name]]
    assert len(set(everything)) == len(everything)
    assert len(prompts["test"]) >= 100 and len(prompts["val"]) >= 20 and len(prompts["train"]) >= 80


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", _tasks.SPLITS)
def test_a_model_that_always_says_the_same_scores_a_quarter(task: str, name: str) -> None:
    answers = [row["answer"] for row in _tasks.splits(task)[name]]
    counts = [answers.count(answer) for answer in sorted(set(answers))]
    assert len(counts) == 4 and max(counts) <= 0.27 * len(answers)
    assert all(answer.startswith(" ") for answer in answers)
    if name == "test":
        assert set(answers[:4]) == set(answers), "any beginning of the file is balanced"


def test_no_answer_of_one_task_is_an_answer_of_the_other() -> None:
    answers = [{row["answer"] for row in _tasks.splits(task)["test"]} for task in TASKS]
    assert not answers[0] & answers[1]


@pytest.mark.parametrize("task", TASKS)
def test_what_is_written_is_a_task_file_of_the_same_bytes_every_time(task: str, tmp_path) -> None:
    _tasks.build(task, tmp_path / "one")
    _tasks.build(task, tmp_path / "two")
    for name in _tasks.SPLITS:
        rows = read_task(tmp_path / "one" / f"{name}.jsonl").rows
        assert [{"prompt": row.prompt, "answer": row.answer} for row in rows] == _tasks.splits(task)[name]
        assert (tmp_path / "one" / f"{name}.jsonl").read_bytes() == (tmp_path / "two" / f"{name}.jsonl").read_bytes()


@pytest.mark.parametrize("task", TASKS)
def test_no_word_stands_in_two_classes(task: str) -> None:
    classes = json.loads(_tasks.word_list_bytes(task))["classes"]
    words = [word.casefold() for lists in classes.values() for word in (*lists["common"], *lists["more"])]
    assert len(set(words)) == len(words)
