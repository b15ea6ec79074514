"""Realignment undoes every symmetry, whatever the key, keeps the function, and leaves unprotected models alone."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BaseMismatch, NothingToAlign
from mergebarrier.keys import Key
from mergebarrier.protect import Exact, MergeBarrier
from mergebarrier.realign import Aga, GaugeFix
from mergebarrier.realign.aga import least_squares

every_config = pytest.mark.parametrize("name", tiny_models.CONFIGS)


class Case:
    """A base, its fine-tune, and protected and realigned copies of that."""

    def __init__(self, name: str, root: Path, dtype: torch.dtype = torch.float32) -> None:
        self.root, self.made = root, 0
        self.base = tiny_models.save(name, root / "base", dtype=dtype)
        self.expert = tiny_models.save_expert(name, root / "expert")

    def _out(self) -> Path:
        self.made += 1
        return self.root / f"out-{self.made}"

    def protect(self, method, key: int = 1) -> Path:
        out = self._out()
        with open_checkpoint(self.expert) as source:
            verbs.protect(source, method, Key(bytes([key]) * 32) if method.keyed else None, verbs.OutputOptions(out))
        return out

    def realign(self, folder: Path, method=None, workers: int = 1, base: Path | None = None):
        out = self._out()
        with open_checkpoint(folder) as source, open_checkpoint(base or self.base) as anchor:
            _, diagnostics = verbs.realign(
                source, anchor, method or GaugeFix(), verbs.OutputOptions(out, workers=workers)
            )
        return out, diagnostics


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def distance(a: Path, b: Path) -> float:
    first, second = weights(a), weights(b)
    return float(sum((first[n] - second[n]).double().square().sum() for n in first)) ** 0.5


@every_config
def test_lossless_keys_are_undone_bit_for_bit(name, tmp_path):
    case = Case(name, tmp_path)
    recovered, diagnostics = case.realign(case.protect(Exact()))
    ours, theirs = weights(case.expert), weights(recovered)
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)
    assert diagnostics["converged"] and diagnostics["bit_exact"] and "residual" in diagnostics["spaces_moved"]
    assert diagnostics["mean_cosine_before"] < 0.3 < 0.99 < diagnostics["mean_cosine_after"]


@every_config
def test_full_keys_leave_less_than_the_drift_of_the_gauge(name, tmp_path):
    case = Case(name, tmp_path)
    task_vector = distance(case.expert, case.base)
    found = [case.realign(case.protect(Exact(profile="full"), key))[0] for key in (1, 2)]
    assert distance(found[0], found[1]) < 1e-3 * task_vector, "the key must not matter"
    assert distance(found[0], case.expert) < 0.6 * task_vector
    error = tiny_models.relative_error(tiny_models.logits(found[0]), tiny_models.logits(case.expert))
    assert error < 1e-5, "the function must be kept"


@every_config
def test_an_unprotected_model_is_left_alone(name, tmp_path):
    case = Case(name, tmp_path)
    recovered, diagnostics = case.realign(case.expert)
    assert diagnostics["spaces_moved"] == []
    ours, theirs = weights(case.expert), weights(recovered)
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_flips_are_undone(tmp_path):
    case = Case("qwen2", tmp_path)
    recovered, diagnostics = case.realign(case.protect(MergeBarrier()))
    assert diagnostics["spaces_moved"] == ["query_key"]
    assert distance(recovered, case.expert) == 0.0


@pytest.mark.parametrize("profile", ["lossless", "full"])
def test_workers_change_no_byte(profile, tmp_path):
    case = Case("llama-gqa-untied", tmp_path)
    protected = case.protect(Exact(profile=profile))
    files = [(case.realign(protected, workers=workers)[0] / "model.safetensors").read_bytes() for workers in (1, 2)]
    assert files[0] == files[1]


def test_a_large_task_vector_still_matches(tmp_path):
    base = tiny_models.save("llama-gqa-untied", tmp_path / "base")
    expert = tiny_models.save_expert("llama-gqa-untied", tmp_path / "expert", step=0.2)
    case = Case("llama-gqa-untied", tmp_path / "case")
    case.base, case.expert = base, expert
    found = [case.realign(case.protect(Exact(profile="full"), key))[0] for key in (1, 2)]
    assert distance(found[0], found[1]) < 1e-3 * distance(expert, base)
    # Where the task vector is large its drift along the gauge is too: the function is what must come back.
    assert tiny_models.relative_error(tiny_models.logits(found[0]), tiny_models.logits(expert)) < 1e-5


def test_a_wrong_base_is_refused(tmp_path):
    case = Case("llama-gqa-untied", tmp_path)
    stranger = tiny_models.save("llama-gqa-untied", tmp_path / "stranger", seed=77)
    with pytest.raises(BaseMismatch, match="cosine"):
        case.realign(case.protect(Exact()), base=stranger)
    other = tiny_models.save("gpt2-tied", tmp_path / "gpt2")
    with pytest.raises(BaseMismatch, match="gpt2"):
        case.realign(case.expert, base=other)
    with pytest.raises(BaseMismatch, match="n_heads"):
        case.realign(case.expert, base=tiny_models.save("mistral", tmp_path / "mistral"))
    with pytest.raises(NothingToAlign):
        case.realign(case.base)
    assert [path.name for path in tmp_path.glob("out-*")] == ["out-1"]


def test_the_published_attack_does_not_keep_the_function(tmp_path):
    case = Case("llama-gqa-untied", tmp_path)
    case.expert = tiny_models.save_expert("llama-gqa-untied", tmp_path / "far", step=0.1)
    protected = case.protect(Exact(profile="full"))
    reference = tiny_models.logits(case.expert)
    ours, _ = case.realign(protected)
    matched, _ = case.realign(protected, Aga(matched=True))
    alone, _ = case.realign(protected, Aga())
    errors = [tiny_models.relative_error(tiny_models.logits(folder), reference) for folder in (ours, matched, alone)]
    assert errors[0] < 1e-4 < 1e-2 < errors[1] < errors[2]


def test_least_squares_on_a_square_block_returns_the_anchor():
    generator = torch.Generator().manual_seed(0)
    anchor = torch.randn(24, 24, generator=generator, dtype=torch.float64)
    protected = (anchor + 0.1 * torch.randn(24, 24, generator=generator, dtype=torch.float64)).flip(0)
    solved = protected @ least_squares(protected, anchor)
    assert float((solved - anchor).norm()) < 1e-4 * float(anchor.norm()), "the task vector is gone"
