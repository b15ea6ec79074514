"""A CLIP folder makes its own heads, and a folder of pictures becomes a task; strangers' files are refused by name."""

import importlib
import io
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import tiny_vision
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadTask, UnknownFamily
from mergebarrier.evaluate import (
    accuracy,
    load_encoder,
    load_sentence_encoder,
    names_head,
    read_image_folder,
    read_image_task,
    text_head,
)

WORDS = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "a", "photo", "of", "the", "red", "green", "blue", "picture", "."]


@pytest.fixture
def clip(tmp_path):
    folder = tiny_vision.save("clip", tmp_path / "clip")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.post_processor = processors.TemplateProcessing("[BOS] $A [EOS]", None, [("[BOS]", 1), ("[EOS]", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_rows_are_means_over_templates_of_the_stock_towers_answers(clip) -> None:
    templates = ("a photo of a {}.", "the {}")
    with open_checkpoint(clip) as checkpoint:
        head, scale = text_head(checkpoint, ("red", "green"), templates)
        one, _ = text_head(checkpoint, ("red",), templates[1:])
    model = tiny_vision.stock("clip")
    ids = {"red": [[1, 4, 5, 6, 4, 8, 12, 2], [1, 7, 8, 2]], "green": [[1, 4, 5, 6, 4, 9, 12, 2], [1, 7, 9, 2]]}
    with torch.no_grad():
        for row, sentences in zip(head, ids.values(), strict=True):
            answers = [model.get_text_features(input_ids=torch.tensor([sentence])) for sentence in sentences]
            answers = [getattr(answer, "pooler_output", answer)[0] for answer in answers]
            mean = torch.stack([torch.nn.functional.normalize(answer, dim=0) for answer in answers]).mean(0)
            assert torch.allclose(row, torch.nn.functional.normalize(mean, dim=0), atol=1e-5)
        assert scale == pytest.approx(float(model.logit_scale.exp()))
    assert one.shape == (1, 16) and float(one.norm()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("classes", "templates", "says"),
    [
        (("red",), ("no place",), "exactly one {}"),
        (("red",), ("{} {}",), "exactly one {}"),
        (("red " * 40,), ("{}",), "the tower reads 24"),
    ],
)
def test_a_template_or_a_name_that_does_not_fit_is_refused(classes, templates, says: str, clip) -> None:
    with open_checkpoint(clip) as checkpoint, pytest.raises(BadTask, match=says):
        text_head(checkpoint, classes, templates)


@pytest.mark.parametrize("family", ["clip-vision", "glyph"])
def test_a_model_without_a_text_tower_is_refused(family: str, tmp_path) -> None:
    with (
        open_checkpoint(tiny_vision.save(family, tmp_path / "model")) as checkpoint,
        pytest.raises(UnknownFamily, match="text tower"),
    ):
        text_head(checkpoint, ("red",))


def coloured(folder, n: int = 10, size=(40, 30), kind: str = "png"):
    """Three classes of nearly uniform pictures."""
    for c, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = np.full((*size[::-1], 3), 10 * i, np.uint8)
            pixels[..., c] = 200
            Image.fromarray(pixels).save(folder / name / f"{i}.{kind}")
    return folder


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_folder_becomes_three_splits_that_belong_to_file_names(kind: str, tmp_path) -> None:
    classes, splits = read_image_folder(coloured(tmp_path / "data", kind=kind), 16)
    assert classes == ("blue", "green", "red") and [len(split) for split in splits] == [21, 3, 6]
    for split in splits:
        assert split.images.shape[1:] == (3, 16, 16) and split.images.dtype == torch.uint8
        for image, label in zip(split.images, split.labels, strict=True):
            assert int(image.float().mean((1, 2)).argmax()) == 2 - int(label)
    names = {int(image[:, 8, 8].min()) for image in splits[2].images}
    (tmp_path / "data" / "red" / f"new.{kind}").write_bytes((tmp_path / "data" / "red" / f"0.{kind}").read_bytes())
    again = read_image_folder(tmp_path / "data", 16)[1][2]
    assert len(names & {int(image[:, 8, 8].min()) for image in again.images}) >= len(names) - 1


def picture_bytes(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((height, width), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_hostile_file_stops_everything_by_its_name(tmp_path, monkeypatch) -> None:
    sound = picture_bytes(20, 20)
    bomb = bytearray(sound)
    bomb[16:24] = (100_000).to_bytes(4, "big") + (100_000).to_bytes(4, "big")
    hostile = {
        "cut.png": sound[:-30],
        "text.png": b"not a picture",
        "bomb.png": bytes(bomb),
        "page.svg": b"<svg/>",
        "empty.jpg": b"",
        "gif.png": b"GIF89a" + b"\0" * 40,
    }
    for i, (name, data) in enumerate(hostile.items()):
        folder = coloured(tmp_path / f"d{i}", n=3)
        (folder / "red" / name).write_bytes(data)
        with pytest.raises(BadTask) as refused:
            read_image_folder(folder, 16)
        assert name in str(refused.value) and "\n" not in str(refused.value)
    folder = coloured(tmp_path / "link", n=3)
    os.symlink("/etc/hostname", folder / "red" / "x.png")
    with pytest.raises(BadTask, match="cannot be opened"):
        read_image_folder(folder, 16)
    monkeypatch.setattr(
        importlib.import_module("mergebarrier.evaluate.images.image_folders"), "MAX_PICTURE_PIXELS", 1000
    )
    with pytest.raises(BadTask, match="40 x 30 pixels"):
        read_image_folder(coloured(tmp_path / "large", n=3), 16)


def test_a_folder_of_another_layout_is_refused(tmp_path) -> None:
    loose = coloured(tmp_path / "loose")
    (loose / "readme.txt").write_text("hello")
    few = coloured(tmp_path / "few", n=2)
    (tmp_path / "one" / "red").mkdir(parents=True)
    for folder, says in (
        (loose, "not a folder, and the pictures of each class need one"),
        (few, "at least 3"),
        (tmp_path / "one", "1 sub-folders"),
        (tmp_path / "absent", "cannot be listed"),
    ):
        with pytest.raises(BadTask, match=says):
            read_image_folder(folder, 16)
    with pytest.raises(BadTask, match="side 0"):
        read_image_folder(loose, 0)


def test_the_command_makes_a_task_that_the_model_is_scored_on(clip, tmp_path, run_cli) -> None:
    data, out = coloured(tmp_path / "data"), tmp_path / "colours.task.safetensors"
    made = run_cli("zoo", "task", data, "--model", clip, "--template", "the {}", "-o", out, "--json")
    assert made.exit_code == 0, made.stderr
    assert made.json["classes"] == ["blue", "green", "red"] and made.json["test"] == 6
    task = read_image_task(out)
    with open_checkpoint(clip) as checkpoint:
        encoder = load_encoder(checkpoint)
        assert task.train.images.shape[2] == encoder.side == 28
        expected = accuracy(encoder, task.head, task.scale, task.test)
    (row,) = run_cli("evaluate", clip, "--task", out, "--json").json["tasks"]
    assert (row["name"], row["correct"], row["total"]) == ("colours", expected.correct, 6)


def test_the_command_takes_heads_from_a_file_of_names(tmp_path, run_cli, bench) -> None:
    names = bench["glyph-names"] / "names.safetensors"
    head, scale = names_head(names, ("digit zero", "digit one"))
    assert scale == 20.0 and head.shape == (2, 64)
    data = coloured(tmp_path / "data", n=3)
    for old, new in (("red", "digit zero"), ("green", "digit one"), ("blue", "digit two")):
        (data / old).rename(data / new)
    out = tmp_path / "x.task.safetensors"
    assert run_cli("zoo", "task", data, "--names", names, "--side", "28", "-o", out).exit_code == 0
    (data / "digit two").rename(data / "no such")
    ran = run_cli("zoo", "task", data, "--names", names, "--side", "28", "-o", tmp_path / "y.task.safetensors")
    assert ran.exit_code == 2 and "no vector is named 'no such'" in ran.stderr
    (tmp_path / "odd").write_bytes(b"x" * 50)
    with pytest.raises(BadTask, match="not a file of class-name vectors"):
        names_head(tmp_path / "odd", ("a", "b"))


@pytest.mark.parametrize("words", [(), ("--names", "n"), ("--model", "m", "--names", "n", "--side", "8")])
def test_a_head_comes_from_exactly_one_place(words, tmp_path, run_cli) -> None:
    ran = run_cli("zoo", "task", tmp_path, "-o", tmp_path / "x.task.safetensors", *words)
    assert ran.exit_code == 64 and "--model" in ran.stderr
    ran = run_cli("zoo", "task", tmp_path, "-o", tmp_path / "x", "--model", tmp_path)
    assert ran.exit_code == 64 and "does not end in" in ran.stderr


def test_sentences_become_unit_means_of_the_last_states(tmp_path) -> None:
    import transformers

    import model_folders
    from tiny_tokenizer import add_tokenizer

    config = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config |= {"vocab_size": 96, "max_position_embeddings": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = transformers.BertModel(transformers.BertConfig(**config)).eval()
    tensors = {name: parameter.detach() for name, parameter in module.named_parameters()}
    folder = add_tokenizer(
        model_folders.write_folder(tmp_path / "bert", tensors, config=config | {"model_type": "bert"})
    )
    with open_checkpoint(folder) as checkpoint:
        found = load_sentence_encoder(checkpoint)(["w1 w2 w3", "w7"])
    with torch.no_grad():
        states = module(input_ids=torch.tensor([[1, 2, 3]])).last_hidden_state[0]
    assert torch.allclose(found[0], torch.nn.functional.normalize(states.mean(0), dim=0), atol=1e-6)
    assert found.shape == (2, 16) and torch.allclose(found.norm(dim=1), torch.ones(2))
    config_file = folder / "config.json"
    config_file.write_text(json.dumps(json.loads(config_file.read_text()) | {"model_type": "gpt2"}))
    with open_checkpoint(folder) as checkpoint, pytest.raises(UnknownFamily, match="not a supported sentence encoder"):
        load_sentence_encoder(checkpoint)


def test_the_map_of_a_head_learns_to_name_features() -> None:
    from mergebarrier.training import FullRecipe
    from mergebarrier.zoo.dino.class_names import learn_projection

    generator = torch.Generator().manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(6, 12, generator=generator), dim=1)
    hidden = torch.randn(10, 12, generator=generator)
    labels = torch.arange(60) % 6
    features = 5 * (embeddings[labels] @ hidden.T) + 2 + 0.3 * torch.randn(60, 10, generator=generator)
    recipe = FullRecipe(steps=100, learning_rate=1e-2, weight_decay=0.0, warmup_steps=5)
    found = learn_projection(features, labels, embeddings, 20.0, recipe)
    assert found.shape == (10, 12) and torch.equal(found, learn_projection(features, labels, embeddings, 20.0, recipe))
    head = torch.nn.functional.normalize(embeddings @ found.T, dim=1)
    right = (torch.nn.functional.normalize(features, dim=1) @ head.T).argmax(1) == labels
    assert float(right.float().mean()) > 0.95
