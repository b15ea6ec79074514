"""Every family of encoders: pictures in [0, 1] in, features out, the folder and the module say the same."""

import json

import pytest
import torch

import tiny_vision
from mergebarrier.checkpoint import open_checkpoint, read_manifest
from mergebarrier.errors import (
    BadConfig,
    BadTask,
    ConfigMismatch,
    MissingTensor,
    RemoteCodeRefused,
    UnknownFamily,
    UnsupportedFeature,
)
from mergebarrier.evaluate import encoder_tensors, load_encoder, pixels, save_encoder

FAMILIES = list(tiny_vision.FAMILIES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    parent = tmp_path_factory.mktemp("encoders")
    return {family: tiny_vision.save(family, parent / family) for family in FAMILIES}


def load(folder):
    with open_checkpoint(folder) as checkpoint:
        return load_encoder(checkpoint)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoder_is_the_stock_module_after_its_own_preparation(family: str, folders) -> None:
    channels, n_features, _ = tiny_vision.FAMILIES[family]
    x = pixels(tiny_vision.pictures(5, channels))
    with torch.no_grad():
        features = load(folders[family])(x)
        module, prepared = tiny_vision.stock(family), (x - 0.4) / 0.3
        if family == "clip":
            expected = module.get_image_features(pixel_values=prepared)
            expected = getattr(expected, "pooler_output", expected)
        else:
            out = module(prepared)
            expected = {"dinov2": lambda: out.pooler_output, "clip-vision": lambda: out.image_embeds}.get(
                family, lambda: out
            )()
    assert features.shape == (5, n_features) and torch.allclose(features, expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_loading_is_repeatable_and_leaves_the_global_random_state_alone(family: str, folders) -> None:
    state = torch.get_rng_state()
    x = pixels(tiny_vision.pictures(3))
    with torch.no_grad():
        assert torch.equal(load(folders[family])(x), load(folders[family])(x))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_carry_a_gradient_and_every_parameter_can_learn(family: str, folders) -> None:
    encoder = load(folders[family])
    x = pixels(tiny_vision.pictures(2)).requires_grad_()
    encoder(x).square().sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    learning = [name for name, parameter in encoder.named_parameters() if parameter.grad is not None]
    unused = {"body.embeddings.mask_token"}
    assert set(learning) | unused >= {name for name, _ in encoder.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_saved_is_what_is_loaded_and_the_rest_is_copied(family: str, dtype, tmp_path) -> None:
    base = tiny_vision.save(family, tmp_path / "base", dtype=dtype)
    with open_checkpoint(base) as like:
        encoder = load_encoder(like)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.mul_(1.25)
        save_encoder(encoder, like, tmp_path / "out", {"verb": "test", "method": "scaled"}, environment={"x": "1"})
        own = encoder_tensors(encoder)
        with open_checkpoint(tmp_path / "out") as written:
            assert list(written.tensors) == list(like.tensors) and written.config == like.config
            for name in like.tensors:
                expected = own[name].to(dtype) if name in own else like.read(name)
                assert torch.equal(written.read(name), expected), name
            assert written.side_files == like.side_files
    assert read_manifest(tmp_path / "out")["content"]["method"] == "scaled"
    assert ("text_projection.weight" in like.tensors) == (family == "clip"), "a text tower is copied"


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "glyph"])
def test_a_folder_as_transformers_writes_it_is_read_and_saved_under_its_own_names(family: str, folders, tmp_path):
    theirs = tmp_path / "theirs"
    tiny_vision.stock(family).save_pretrained(theirs)
    (theirs / "preprocessor_config.json").write_text(tiny_vision.processor(3))
    x = pixels(tiny_vision.pictures(2))
    with open_checkpoint(theirs) as like, torch.no_grad():
        encoder = load_encoder(like)
        assert torch.equal(encoder(x), load(folders[family])(x))
        for parameter in encoder.parameters():
            parameter.add_(1)
        save_encoder(encoder, like, tmp_path / "out", {"verb": "test"})
        with open_checkpoint(tmp_path / "out") as written:
            moved = [name for name in like.tensors if not torch.equal(written.read(name), like.read(name))]
    assert len(moved) == len(encoder_tensors(encoder))


def test_files_of_weights_have_the_size_that_is_asked_for(folders, tmp_path) -> None:
    with open_checkpoint(folders["dinov2"]) as like:
        encoder = load_encoder(like)
        for name, most in (("one", None), ("many", 20_000)):
            save_encoder(encoder, like, tmp_path / name, {"verb": "test"}, shard_bytes=most)
    with open_checkpoint(tmp_path / "one") as one, open_checkpoint(tmp_path / "many") as many:
        assert len(one.shards) == 1 < len(many.shards) and one.digests() == many.digests()


def test_pictures_of_another_size_are_resized_inside(folders) -> None:
    encoder = load(folders["dinov2"])
    flat = torch.full((1, 3, 50, 50), 0.25)
    with torch.no_grad():
        assert torch.allclose(encoder(flat), encoder(flat[:, :, :28, :28]), atol=1e-5)
        grey = pixels(tiny_vision.pictures(2, 1))
        assert torch.allclose(encoder(grey), encoder(grey.expand(-1, 3, -1, -1)), atol=1e-6)


def test_colours_are_refused_by_a_grey_encoder(folders) -> None:
    with pytest.raises(BadTask, match="3 channels, the encoder reads 1"):
        load(folders["glyph"])(torch.zeros(1, 3, 28, 28))


def _edit(folder, name: str, **changes):
    document = json.loads((folder / name).read_text())
    for key, value in changes.items():
        if value is None:
            document.pop(key)
        else:
            document[key] = value
    (folder / name).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("family", "name", "changes", "error", "says"),
    [
        ("glyph", "config.json", {"model_type": "llama"}, UnknownFamily, "known are"),
        ("glyph", "config.json", {"model_type": ["clip"]}, UnknownFamily, "known are"),
        ("glyph", "config.json", {"widths": [8, 15]}, BadConfig, "multiples of 8"),
        ("glyph", "config.json", {"widths": "8"}, BadConfig, "widths"),
        ("glyph", "config.json", {"widths": []}, BadConfig, "widths"),
        ("glyph", "config.json", {"hidden_size": 10**9}, BadConfig, "1 to 4096"),
        ("glyph", "config.json", {"hidden_size": True}, BadConfig, "1 to 4096"),
        ("glyph", "config.json", {"hidden_size": 21}, ConfigMismatch, "config.json gives shape"),
        ("glyph", "config.json", {"widths": [8, 16, 8]}, MissingTensor, "stem.6.weight"),
        ("dinov2", "config.json", {"hidden_size": 2**40}, BadConfig, "not a size"),
        ("dinov2", "config.json", {"hidden_size": 2**19}, ConfigMismatch, "config.json gives shape"),
        ("dinov2", "config.json", {"num_hidden_layers": 10**6}, BadConfig, "the weights are fewer"),
        ("dinov2", "config.json", {"num_hidden_layers": 3}, MissingTensor, "layer.2"),
        ("dinov2", "config.json", {"num_attention_heads": "7"}, BadConfig, "stock class refuses"),
        ("dinov2", "config.json", {"num_attention_heads": 7}, ConfigMismatch, "config.json gives shape"),
        ("dinov2", "config.json", {"patch_size": 0}, BadConfig, "stock class refuses"),
        ("clip", "config.json", {"vision_config": [1]}, BadConfig, "not a table"),
        ("clip", "config.json", {"projection_dim": 8}, ConfigMismatch, "visual_projection"),
        ("glyph", "preprocessor_config.json", {"image_std": [0.0]}, BadConfig, "out of range"),
        ("glyph", "preprocessor_config.json", {"image_mean": [0.1, 0.2]}, BadConfig, "out of range"),
        ("glyph", "preprocessor_config.json", {"image_mean": "abc"}, BadConfig, "not a table with"),
        ("glyph", "preprocessor_config.json", {"size": 10**9}, BadConfig, "out of range"),
        ("glyph", "preprocessor_config.json", {"size": {"height": 28, "width": 30}}, BadConfig, "not a table with"),
        ("glyph", "preprocessor_config.json", {"size": None}, BadConfig, "not a table with"),
        ("glyph", "preprocessor_config.json", {"size": 56}, BadConfig, "prepares pictures of side 56"),
        ("clip-vision", "preprocessor_config.json", {"size": 56}, BadConfig, "prepares pictures of side 56"),
        ("glyph", "preprocessor_config.json", {"auto_map": {"x": "y.Z"}}, RemoteCodeRefused, "auto_map"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused_with_one_line(
    family: str, name: str, changes, error, says: str, tmp_path
) -> None:
    folder = tiny_vision.save(family, tmp_path / "model")
    _edit(folder, name, **changes)
    with pytest.raises(error, match=says) as refused:
        load(folder)
    assert "\n" not in str(refused.value)


def test_sizes_are_read_as_the_libraries_write_them(tmp_path) -> None:
    folder = tiny_vision.save("dinov2", tmp_path / "model")
    for said, side in (
        ({"size": {"shortest_edge": 30}, "crop_size": {"height": 28, "width": 28}}, 28),
        ({"size": {"height": 42, "width": 42}, "crop_size": None}, 42),
        ({"size": {"shortest_edge": 56}, "crop_size": 28, "do_center_crop": False}, 56),
    ):
        _edit(folder, "preprocessor_config.json", **said)
        assert load(folder).side == side


def test_a_folder_without_the_preparation_says_what_to_copy(tmp_path) -> None:
    folder = tiny_vision.save("glyph", tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UnsupportedFeature, match="size, mean and deviation"):
        load(folder)
