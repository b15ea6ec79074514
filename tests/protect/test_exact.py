"""``exact`` keeps the function, moves the weights, and gives them back."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import DigestMismatch, KeyMismatch, MethodRefused, NotProtected, UsageError
from mergebarrier.keys import Key
from mergebarrier.protect import PARTS, Exact

every_config = pytest.mark.parametrize("name", tiny_models.CONFIGS)
every_profile = pytest.mark.parametrize("profile", ["lossless", "full"])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@every_profile
@every_config
def test_the_function_is_kept(name, profile, tmp_path, protect):
    folder = tiny_models.save(name, tmp_path / "model", dtype=torch.float64)
    out = protect(folder, Exact(profile=profile))
    exact = [tiny_models.logits(side, exact_norms=True) for side in (out, folder)]
    assert tiny_models.relative_error(*exact) <= 1e-9
    # The stock RMSNorm computes in float32 whatever the dtype: that is the floor of the class as shipped.
    assert tiny_models.relative_error(tiny_models.logits(out), tiny_models.logits(folder)) <= 5e-6


@every_profile
@every_config
def test_names_shapes_dtypes_and_config_stay_and_most_weights_move(name, profile, tmp_path, protect):
    folder = tiny_models.save(name, tmp_path / "model", dtype=torch.bfloat16)
    before, after = weights(folder), weights(protect(folder, Exact(profile=profile)))
    assert {n: (t.shape, t.dtype) for n, t in before.items()} == {n: (t.shape, t.dtype) for n, t in after.items()}
    moved = sum(not torch.equal(before[name], after[name]) for name in before)
    assert moved > 0.9 * len(before)
    assert (tmp_path / "protected-1" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@every_config
def test_lossless_comes_back_bit_for_bit(name, dtype, tmp_path, protect, unprotect):
    folder = tiny_models.save(name, tmp_path / "model", dtype=dtype)
    restored = unprotect(protect(folder, Exact()))
    with open_checkpoint(folder) as first, open_checkpoint(restored) as second:
        assert first.digests() == second.digests()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_config
def test_full_comes_back_within_the_bound_of_its_manifest(name, dtype, tmp_path, protect, unprotect):
    folder = tiny_models.save(name, tmp_path / "model", dtype=dtype)
    protected = protect(folder, Exact(profile="full"))
    bound = json.loads((protected / "mergebarrier.json").read_text())["content"]["roundtrip_bound"]
    before, after = weights(folder), weights(unprotect(protected))
    errors = [float((after[n].double() - t.double()).norm() / t.double().norm()) for n, t in before.items()]
    assert 0 < max(errors) <= bound < (1e-6 if dtype == torch.float32 else 0.02)


@every_profile
def test_one_key_one_file_two_keys_two_files(profile, tmp_path, protect):
    folder = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    first, again, other = (protect(folder, Exact(profile=profile), key=key) for key in (1, 1, 2))
    assert digest(first) == digest(again) != digest(other)
    a, b = weights(first), weights(other)
    matrices = [name for name in a if a[name].ndim == 2]
    cosines = [float(torch.cosine_similarity(a[n].flatten(), b[n].flatten(), dim=0)) for n in matrices]
    assert max(cosines) < 0.5


@every_profile
def test_workers_change_no_byte(profile, tmp_path, protect):
    folder = tiny_models.save("llama-mqa-biased", tmp_path / "model", dtype=torch.bfloat16)
    assert len({digest(protect(folder, Exact(profile=profile), workers=workers)) for workers in (1, 2, 3)}) == 1


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


def test_undoing_needs_the_right_key_and_untouched_files(tmp_path, protect, unprotect):
    folder = tiny_models.save("qwen2", tmp_path / "model")
    protected = protect(folder, Exact())
    with pytest.raises(KeyMismatch, match=Key(bytes([1]) * 32).id):
        unprotect(protected, key=2)
    with pytest.raises(KeyMismatch):
        unprotect(protected, key=None)
    with pytest.raises(NotProtected):
        unprotect(folder)
    path = protected / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DigestMismatch):
        unprotect(protected)
    assert not list(tmp_path.glob("*restored*"))


def test_parameters_outside_their_range_are_usage_errors():
    for wrong in ({"profile": "strong"}, {"only": ("attention", "norms")}, {"only": ()}, {"condition": 9.0}):
        with pytest.raises(UsageError):
            Exact(**wrong)


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
