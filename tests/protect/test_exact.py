"""``exact`` keeps the function, moves the weights, and gives them back."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import MethodRefused
from mergebarrier.protect import PARTS, Exact

every_config = pytest.mark.parametrize("name", tiny_models.CONFIGS)
every_profile = pytest.mark.parametrize("profile", ["lossless", "full"])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@every_profile
@every_config
def test_names_shapes_dtypes_and_config_stay_and_most_weights_move(name, profile, tmp_path, protect):
    folder = tiny_models.save(name, tmp_path / "model", dtype=torch.bfloat16)
    before, after = weights(folder), weights(protect(folder, Exact(profile=profile)))
    assert {n: (t.shape, t.dtype) for n, t in before.items()} == {n: (t.shape, t.dtype) for n, t in after.items()}
    moved = sum(not torch.equal(before[name], after[name]) for name in before)
    assert moved > 0.9 * len(before)
    assert (tmp_path / "protected-1" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


@every_profile
def test_one_key_one_file_two_keys_two_files(profile, tmp_path, protect):
    folder = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    first, again, other = (protect(folder, Exact(profile=profile), key=key) for key in (1, 1, 2))
    assert digest(first) == digest(again) != digest(other)
    a, b = weights(first), weights(other)
    matrices = [name for name in a if a[name].ndim == 2]
    cosines = [float(torch.cosine_similarity(a[n].flatten(), b[n].flatten(), dim=0)) for n in matrices]
    assert max(cosines) < 0.5


@every_config
@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone_keeps_the_function_and_moves_something(name, part, tmp_path, protect):
    folder = tiny_models.save(name, tmp_path / "model")
    moved = []
    # Few heads have few orders: one key may draw the order that is there already, three do not.
    for key in (1, 2, 3):
        out = protect(folder, Exact(profile="full", only=(part,)), key=key)
        assert tiny_models.relative_error(tiny_models.logits(out), tiny_models.logits(folder)) <= 5e-6
        before, after = weights(folder), weights(out)
        moved += [name for name in before if not torch.equal(before[name], after[name])]
        if moved:
            break
    assert moved


def test_a_golden_file(tmp_path, protect):
    folder = tmp_path / "model"
    module = tiny_models.build("llama-gqa-untied")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((torch.arange(parameter.numel()) % 509 - 254).reshape(parameter.shape) / 256)
    module.save_pretrained(folder)
    assert (
        digest(protect(folder, Exact()))
        == (Path(__file__).parent.parent / "golden" / "exact-lossless.sha256").read_text().strip()
    )


def test_full_on_float16_is_refused(tmp_path, protect):
    folder = tiny_models.save("mistral", tmp_path / "model", dtype=torch.float16)
    with pytest.raises(MethodRefused, match="float16"):
        protect(folder, Exact(profile="full"))
    assert not (tmp_path / "protected-1").exists()


def test_realignment_undoes_the_whole_change(tmp_path, protect):
    base = tiny_models.save("llama-gqa-untied", tmp_path / "base")
    expert = tiny_models.save_expert("llama-gqa-untied", tmp_path / "expert")
    for profile, least in (("lossless", 100.0), ("full", 99.0)):
        with (
            open_checkpoint(expert) as ours,
            open_checkpoint(protect(expert, Exact(profile=profile))) as published,
            open_checkpoint(base) as anchor,
        ):
            assert verbs.undone_by_realignment(ours, published, anchor)["undone_pct"] >= least
