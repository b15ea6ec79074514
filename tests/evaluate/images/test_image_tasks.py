"""A task file is what was written, or it is refused with one line; figures on it are shares with intervals."""

import dataclasses
import json
import os

import pytest
import torch

import tiny_vision
from mergebarrier.errors import BadTask, OutputExists
from mergebarrier.evaluate import ImageSplit, accuracy, image_logits, pixels, predict, read_image_task, write_image_task
from mergebarrier.evaluate.images.glyph_cnn import GlyphCnn
from model_folders import entries, pack


@pytest.fixture
def task():
    return tiny_vision.task()


def test_a_task_survives_its_file_and_the_bytes_are_always_the_same(task, tmp_path) -> None:
    first, second = tmp_path / "one.task.safetensors", tmp_path / "two.task.safetensors"
    write_image_task(task, first)
    write_image_task(read_image_task(first), second)
    assert first.read_bytes() == second.read_bytes()
    again = read_image_task(second)
    assert (again.name, again.classes, again.scale) == (task.name, task.classes, task.scale)
    for name, split in task.splits().items():
        assert torch.equal(again.splits()[name].images, split.images) and len(again.splits()[name]) == len(split)
        assert torch.equal(again.splits()[name].labels, split.labels)
    assert torch.equal(again.head, task.head)
    with pytest.raises(OutputExists):
        write_image_task(task, first)
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


def test_the_library_that_everybody_uses_reads_the_same(task, tmp_path) -> None:
    from safetensors.torch import load_file

    write_image_task(task, tmp_path / "t.task.safetensors")
    loaded = load_file(tmp_path / "t.task.safetensors")
    assert torch.equal(loaded["test.images"], task.test.images) and torch.equal(loaded["head"], task.head)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "a/b"}, "its name"),
        ({"classes": ("a", "b")}, "the head is"),
        ({"classes": ("a", "b", "b")}, "distinct"),
        ({"classes": ("a", "b", "")}, "distinct"),
        ({"classes": ("a", "b", 3)}, "distinct"),
        ({"scale": 0.0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"head": torch.ones(3, 12)}, "length one"),
        ({"head": torch.full((3, 12), float("nan"))}, "length one"),
        ({"head": torch.eye(3, 12).double()}, "float32"),
        ({"dev": ImageSplit(tiny_vision.pictures(2), torch.tensor([0, 3]))}, "are 0 to 3"),
        ({"dev": ImageSplit(tiny_vision.pictures(2), torch.tensor([-1, 0]))}, "are -1"),
        ({"dev": ImageSplit(tiny_vision.pictures(2), torch.tensor([0]))}, "one int64 per picture"),
        ({"dev": ImageSplit(tiny_vision.pictures(0), torch.zeros(0, dtype=torch.int64))}, "at least one"),
        ({"test": ImageSplit(tiny_vision.pictures(2, side=14), torch.tensor([0, 1]))}, "test.images are"),
        ({"test": ImageSplit(tiny_vision.pictures(2).float(), torch.tensor([0, 1]))}, "uint8"),
        ({"test": ImageSplit(tiny_vision.pictures(2, 2), torch.tensor([0, 1]))}, "1 or 3"),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(changes, says: str, task) -> None:
    with pytest.raises(BadTask, match=says):
        dataclasses.replace(task, **changes)


def _file(path, task, *, about=None, drop: str = "", **more):
    tensors = {"head": task.head}
    for name, split in task.splits().items():
        tensors |= {f"{name}.images": split.images, f"{name}.labels": split.labels}
    tensors = {name: tensor for name, tensor in (tensors | more).items() if name != drop}
    header, data = entries(tensors)
    said = {"name": "noise", "classes": ["a", "b", "c"], "scale": 20.0} if about is None else about
    text = said if isinstance(said, str) else json.dumps(said)
    path.write_bytes(pack({"__metadata__": {"about": text}, **header}, data))
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"about": {"name": "noise", "classes": ["a", "b", "c"]}}, "metadata is not exactly"),
        ({"about": {"name": "noise", "classes": "abc", "scale": 20.0}}, "classes is not a list"),
        ({"about": {"name": "noise", "classes": ["a", "b", "c"], "scale": True}}, "scale is not a number"),
        ({"about": {"name": 3, "classes": ["a", "b", "c"], "scale": 1.0}}, "its name"),
        ({"about": "[" * 100_000}, "nests deeper"),
        ({"about": '{"name": "a", "name": "b"}'}, "not a task file"),
        ({"about": "[1]"}, "not a table"),
        ({"drop": "head"}, "'head' is missing or unexpected"),
        ({"extra": torch.zeros(1)}, "'extra' is missing or unexpected"),
        ({"head": torch.full((3, 12), float("inf"))}, "NaN or Inf"),
    ],
)
def test_a_hostile_file_is_refused_with_one_line(changes, says: str, task, tmp_path) -> None:
    place = _file(tmp_path / "x.task.safetensors", task, **changes)
    with pytest.raises(BadTask, match=says) as refused:
        read_image_task(place)
    assert "\n" not in str(refused.value) and "x.task.safetensors" in str(refused.value)


def test_what_is_no_file_or_cut_short_is_refused(task, tmp_path) -> None:
    whole = _file(tmp_path / "x.task.safetensors", task)
    assert read_image_task(whole).name == "noise"
    data = whole.read_bytes()
    for i, cut in enumerate((0, 4, 8, 100, len(data) - 1)):
        place = tmp_path / f"cut{i}.task.safetensors"
        place.write_bytes(data[:cut])
        with pytest.raises(BadTask):
            read_image_task(place)
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path, tmp_path / "fifo", tmp_path / "absent"):
        with pytest.raises(BadTask, match="not a task file"):
            read_image_task(place)


def _encoder() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return GlyphCnn(num_channels=1, image_size=28, widths=(8,), hidden_size=10, projection_dim=12).eval()


def test_logits_are_scaled_cosines_and_ignore_the_length_of_features(task) -> None:
    features = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    logits = image_logits(features, task.head, 20.0)
    cosine = torch.nn.functional.cosine_similarity(features[:, None], task.head[None], dim=-1)
    assert torch.allclose(logits, 20 * cosine, atol=1e-5) and float(logits.abs().max()) <= 20
    assert torch.allclose(logits, image_logits(3 * features, task.head, 20.0), atol=1e-5)


def test_the_score_is_the_share_of_right_predictions_whatever_the_batch(task) -> None:
    encoder = _encoder()
    found = predict(encoder, task.head, task.scale, task.test.images)
    assert torch.equal(found, predict(encoder, task.head, task.scale, pixels(task.test.images), batch=3))
    right = ImageSplit(task.test.images, found)
    for batch in (3, 256):
        score = accuracy(encoder, task.head, task.scale, right, batch=batch)
        assert (score.rate, score.correct, score.total, score.high) == (1.0, len(found), len(found), 1.0)
        assert 0 < score.low < 1 and 0 < score.nll_nats < 20
    wrong = ImageSplit(task.test.images, (found + 1) % 3)
    score = accuracy(encoder, task.head, task.scale, wrong)
    assert (score.rate, score.low) == (0.0, 0.0) and 0 < score.high < 1


def test_a_head_of_another_base_is_refused(task) -> None:
    with pytest.raises(BadTask, match="the head reads 11 features, the encoder gives 12"):
        predict(_encoder(), torch.eye(3, 11), 20.0, task.test.images)
