"""The check of the merged weights: figures follow their definitions, and each way to go wrong has its warning."""

from dataclasses import dataclass, field
from functools import cached_property

import pytest
import torch

from mergebarrier.checkpoint import TensorInfo
from mergebarrier.merge.checks.merged import SAMPLE_VALUES, Operand, check_tie, check_vocabulary, check_weights

NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64",
}  # fmt: skip


@dataclass
class Model:
    """Tensors in memory, read like a checkpoint; counts the values that were read."""

    held: dict[str, torch.Tensor]
    config: dict = field(default_factory=dict)
    n_read: int = 0

    @cached_property
    def tensors(self):
        return {
            name: TensorInfo(name, NAMES[t.dtype], tuple(t.shape), "s", 0, t.numel() * t.element_size())
            for name, t in self.held.items()
        }

    def read(self, name):
        self.n_read += self.held[name].numel()
        return self.held[name]

    def read_rows(self, name, start, stop):
        self.n_read += self.held[name][start:stop].numel()
        return self.held[name][start:stop]


def model(seed: int, shape=(64, 32), step: float = 0.05, scale: float = 1.0) -> Model:
    base, own = torch.Generator().manual_seed(7), torch.Generator().manual_seed(seed)
    names = {"a.weight": shape, "b.weight": (32, 16), "norm.weight": (16,), "scalar": ()}
    return Model({
        n: scale * (torch.randn(s, generator=base) + (step * torch.randn(s, generator=own) if seed else 0.0))
        for n, s in names.items()
    })  # fmt: skip


def mean(*models: Model) -> Model:
    return Model({name: sum(m.held[name] for m in models) / len(models) for name in models[0].held})


def checked(merged: Model, *models: Model, base: int | None = 0):
    operands = {name: [Operand(i, m, name) for i, m in enumerate(models)] for name in merged.held}
    return check_weights(merged, operands, [f"m{i}" for i in range(len(models))], base)


def flat(of: Model) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1).double() for tensor in of.held.values()])


def test_the_figures_are_those_of_their_definitions() -> None:
    base, one, two = model(0), model(1), model(2)
    merged = mean(one, two)
    found = checked(merged, base, one, two)
    out, theirs = flat(merged), [flat(m) for m in (base, one, two)]
    means = [sum(m.held[name].norm() for m in (base, one, two)) / 3 for name in base.held]
    ratio = float(out.norm() / torch.stack(means).norm())
    assert found.figures["norm_ratio"] == pytest.approx(ratio, rel=1e-3)
    for i, side in enumerate(theirs):
        cosine = float(out @ side / out.norm() / side.norm())
        assert found.figures["cosine"][f"m{i}"] == pytest.approx(cosine, rel=1e-3)
    moved = float((theirs[1] - theirs[0]).norm() / theirs[0].norm())
    assert found.figures["task_vector"]["m1"] == pytest.approx(moved, rel=1e-3)
    assert found.warnings == () and found.figures["odd_tensors"] == {}


def test_a_sample_of_large_tensors_is_read_and_gives_nearly_the_same_figures() -> None:
    shape = (4096, 64)
    base, one, two = (model(i, shape) for i in range(3))
    merged = mean(one, two)
    found = checked(merged, base, one, two)
    assert merged.n_read < 1.1 * SAMPLE_VALUES + 32 * 16 + 17
    out, side = flat(merged), flat(one)
    assert found.figures["cosine"]["m1"] == pytest.approx(float(out @ side / out.norm() / side.norm()), rel=1e-2)
    moved = float((side - flat(base)).norm() / flat(base).norm())
    assert found.figures["task_vector"]["m1"] == pytest.approx(moved, rel=3e-2)


@pytest.mark.parametrize("shape", [(3, 100_000), (100_000,), (1, 40_000), (7, 5, 3000), (0, 8)])
def test_every_shape_is_sampled_within_bounds(shape: tuple[int, ...]) -> None:
    tensors = {"t": torch.randn(shape)}
    found = check_weights(Model(tensors), {"t": [Operand(0, Model(tensors), "t")]}, ["m"], None)
    assert found.figures["norm_ratio"] == 1.0
    assert found.figures["cosine"]["m"] == pytest.approx(1.0 if tensors["t"].numel() else 0.0)


@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_a_merge_that_is_too_quiet_or_too_loud_is_warned_about(scale: float) -> None:
    base, one = model(0), model(1)
    loud = Model({name: scale * tensor for name, tensor in one.held.items()})
    assert "times as long as the inputs' on average" in checked(loud, base, one).warnings[0]


def test_a_single_odd_tensor_is_named() -> None:
    base, one, merged = model(0, (256, 64)), model(1, (256, 64)), model(1, (256, 64))
    merged.held["b.weight"] = merged.held["b.weight"] * 5
    (warning,) = checked(merged, base, one).warnings
    assert "1 tensors" in warning and "b.weight (5" in warning


def test_an_expert_that_is_far_from_the_others_is_named() -> None:
    base, one, two, far = model(0), model(1), model(2), model(3, step=2.0)
    found = checked(mean(one, two, far), base, one, two, far)
    assert any("task vector of m3" in line and "protected" in line for line in found.warnings)
    assert not any("task vector of m1" in line or "task vector of m2" in line for line in found.warnings)


def test_integer_tensors_zeros_and_other_shapes_do_no_harm() -> None:
    one = Model({"ids": torch.arange(4), "zero.weight": torch.zeros(4, 4), "v.weight": torch.ones(3, 2)})
    other = Model({"ids": torch.arange(4), "zero.weight": torch.zeros(4, 4), "v.weight": torch.ones(5, 2)})
    found = checked(one, one, other)
    assert found.figures["tensors"] == 2 and found.warnings == ()


def test_many_tensors_are_thinned() -> None:
    many = Model({f"t{i}.weight": torch.ones(2, 2) for i in range(3000)})
    found = check_weights(many, {name: [Operand(0, many, name)] for name in many.held}, ["m"], None)
    assert found.figures["tensors"] == 1000


EMBEDDING = {"model.embed_tokens.weight": torch.ones(10, 4)}
HEADED = EMBEDDING | {"lm_head.weight": torch.zeros(10, 4)}
TOKENIZER = b'{"model": {"vocab": {"a": 0, "b": 9}}, "added_tokens": [{"id": 2, "content": "c"}]}'


@pytest.mark.parametrize(
    ("held", "config", "files", "says"),
    [
        (EMBEDDING, {"vocab_size": 10, "tie_word_embeddings": True}, {"tokenizer.json": TOKENIZER}, ""),
        (EMBEDDING, {"vocab_size": 11}, {}, "has 10 rows, vocab_size is 11"),
        (HEADED, {"vocab_size": 11}, {}, "lm_head.weight has 10 rows"),
        (EMBEDDING, {}, {"tokenizer.json": TOKENIZER.replace(b"9", b"10")}, "ids up to 10"),
        (
            EMBEDDING,
            {},
            {"vocab.txt": b"\n".join(b"%d" % n for n in range(9)), "added_tokens.json": b'{"x": 9, "y": 10}'},
            "ids up to 10",
        ),
        (EMBEDDING, {}, {"tokenizer.json": b'{"model": {"vocab": [["a", 0.5]]}}'}, ""),
        (EMBEDDING, {"eos_token_id": [2, 10]}, {}, "eos_token_id of config.json is 10"),
        (EMBEDDING, {}, {"generation_config.json": b'{"pad_token_id": 12}'}, "pad_token_id of generation_config"),
        (EMBEDDING, {"pad_token_id": -1, "bos_token_id": None, "eos_token_id": True}, {}, ""),
        (EMBEDDING, {"tie_word_embeddings": False}, {}, "there is no head"),
        (HEADED, {"tie_word_embeddings": False}, {}, ""),
        ({"x.weight": torch.ones(2, 2)}, {"vocab_size": 11, "eos_token_id": 99}, {}, ""),
        (EMBEDDING, {}, {"tokenizer.json": b"[" * 100_000}, "tokenizer is not compared with the rows"),
        (EMBEDDING, {}, {"tokenizer.json": b"\xff"}, "tokenizer is not compared with the rows: not UTF-8"),
    ],
)
def test_vocabulary_special_ids_and_tie_flag(held, config, files, says) -> None:
    lines = check_vocabulary(Model(held).tensors, config, files)
    assert (says in " ".join(lines)) and bool(lines) == bool(says)


def test_a_tied_model_with_another_head_is_warned_about() -> None:
    tied = {"tie_word_embeddings": True}
    assert "differs" in check_tie(Model(HEADED, tied))[0]
    assert check_tie(Model(HEADED | {"lm_head.weight": torch.ones(10, 4)}, tied)) == ()
    assert check_tie(Model(HEADED)) == () and check_tie(Model(EMBEDDING, tied)) == ()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_models_of_different_dtypes_are_compared(dtype: torch.dtype) -> None:
    one, other = model(1), model(1)
    other.held = {name: tensor.to(dtype) for name, tensor in other.held.items()}
    assert checked(one, one, other).figures["cosine"]["m1"] == pytest.approx(1.0, abs=1e-3)
    assert checked(other, other, one).figures["cosine"]["m1"] == pytest.approx(1.0, abs=1e-3)


def test_a_model_that_gives_two_inputs_of_a_tensor_counts_as_two() -> None:
    one = model(1)
    other = Model({name: torch.randn(tensor.shape) for name, tensor in one.held.items()})
    mixed = mean(one, other)
    both = Model(one.held | {f"other.{name}": tensor for name, tensor in other.held.items()})
    operands = {name: [Operand(0, both, name), Operand(0, both, f"other.{name}")] for name in mixed.held}
    found = check_weights(mixed, operands, ["m"], None)
    apart = checked(mixed, one, other, base=None)
    assert found.figures["norm_ratio"] == apart.figures["norm_ratio"]
    assert found.figures["cosine"]["m"] == pytest.approx(sum(apart.figures["cosine"].values()) / 2, rel=0.05)
