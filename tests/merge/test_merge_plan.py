"""Models that do not belong together are refused before any arithmetic; those that do are merged tensor by tensor."""

from contextlib import ExitStack

import pytest
import torch

from merge_models import fit, tensors
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadMergeParameter, ConfigMismatch, ShapeMismatch, TensorSetMismatch
from mergebarrier.merge import make, plan
from mergebarrier.run import transform

EMBED = "model.embed_tokens.weight"
KINDS = {"a": torch.float32, "b": torch.int64}


@pytest.fixture
def opened():
    """Return ``opened(folder, ...)``: the checkpoints, closed at the end."""
    with ExitStack() as stack:
        yield lambda *folders: [stack.enter_context(open_checkpoint(folder)) for folder in folders]


def refused(opened, save, kind, says, other, **config) -> None:
    base, expert = opened(save("base", tensors(0)), save("expert", other, **config))
    with pytest.raises(kind, match=says) as caught:
        plan(make("task_arithmetic"), base, [expert])
    assert "expert" in str(caught.value)


def test_other_tensors_are_listed_with_their_owner(opened, save) -> None:
    other = tensors(1)
    del other["model.norm.weight"]
    other |= {"extra.a": torch.ones(1), "extra.b": torch.ones(1)}
    says = (
        r"MB3002 .*lacks 1 tensors \(model\.norm\.weight\) of base and has 2 tensors \(extra\.a, extra\.b\) that base"
    )
    refused(opened, save, TensorSetMismatch, says, other)


def test_tied_and_untied_models_are_not_mixed(opened, save) -> None:
    other = tensors(1) | {"lm_head.weight": torch.ones(10, 6)}
    refused(opened, save, TensorSetMismatch, "tied and untied embeddings are mixed", other, tie_word_embeddings=False)


def test_tie_flags_that_disagree_over_equal_tensors_are_refused(opened, save) -> None:
    refused(opened, save, TensorSetMismatch, "tied and untied", tensors(1), tie_word_embeddings=False)


def test_another_vocabulary_is_called_by_its_name(opened, save) -> None:
    other = tensors(1) | {EMBED: torch.ones(11, 6, dtype=torch.bfloat16)}
    refused(opened, save, ShapeMismatch, "vocabulary has 11 rows against 10 in base", other, vocab_size=11)


def test_another_shape_is_refused_with_both(opened, save) -> None:
    other = tensors(1) | {"model.norm.weight": torch.ones(7, dtype=torch.bfloat16)}
    refused(opened, save, ShapeMismatch, r"expert: model\.norm\.weight: shape \(7,\) against \(6,\) in base", other)


def test_integers_in_place_of_floats_are_refused(opened, save) -> None:
    folders = [save(name, tensors(0) | {"scale": torch.ones(2, dtype=dtype)}) for name, dtype in KINDS.items()]
    with pytest.raises(ShapeMismatch, match="b: scale: dtype I64 against F32 in a"):
        plan(make("linear"), None, opened(*folders))


def test_other_heads_are_refused(opened, save) -> None:
    base = save("base", tensors(0), num_attention_heads=2)
    expert = save("expert", tensors(1), num_attention_heads=3)
    with pytest.raises(ConfigMismatch, match=r"config\.json: expert: num_attention_heads is 3, base has 2"):
        plan(make("linear"), None, opened(base, expert))


def test_what_may_differ_is_noted(opened, save) -> None:
    folders = save("a", tensors(0), rope_theta=1e4), save("b", tensors(1), rope_theta=1e6)
    notes = plan(make("linear", weights=(2.0, -1.0)), None, opened(*folders)).notes
    assert len(notes) == 2 and "rope_theta is 1000000.0, a has 10000.0, which is kept" in notes[0]
    assert "negative weight" in notes[1]


def test_a_missing_base_and_wrong_counts_are_refused(opened, save) -> None:
    only = opened(save("a", tensors(0)))
    with pytest.raises(BadMergeParameter, match="needs the base model"):
        plan(make("ties"), None, only)
    with pytest.raises(BadMergeParameter, match="got 1 experts, takes exactly 2"):
        plan(make("slerp", t=0.5), None, only)


class Table:
    """A sink in memory."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}

    def done(self, unit_name: str) -> bool:
        return False

    def put(self, name: str, tensor: torch.Tensor) -> None:
        self.tensors[name] = tensor

    def put_rows(self, name: str, start_row: int, tensor: torch.Tensor) -> None:
        before = self.tensors.get(name)
        assert start_row == (0 if before is None else len(before))
        self.tensors[name] = tensor if before is None else torch.cat([before, tensor])

    def finish(self, unit_name: str, names) -> None:
        assert all(name in self.tensors for name in names)


def test_every_method_merges_a_folder_as_it_merges_its_tensors(opened, save, method) -> None:
    models = [tensors(i) for i in range(3)]
    ids = {"position_ids": torch.arange(5)}
    base, *experts = opened(*(save(f"m{i}", model | ids) for i, model in enumerate(models)))
    planned = plan(method, base, fit(method, experts))
    assert [name for unit in planned.units for name in unit.tensors] == list(planned.donor.tensors)
    sink = Table()
    transform(planned.sources, sink, planned.units, planned.apply)
    for name in models[0]:
        wanted = method.merge(models[0][name], fit(method, [model[name] for model in models[1:]]), name=name)
        assert torch.equal(sink.tensors[name], wanted), name
    assert torch.equal(sink.tensors["position_ids"], ids["position_ids"])


@pytest.mark.parametrize("name", ["linear", "task_arithmetic", "ties"])
def test_large_tensors_stand_alone_and_are_cut_only_where_blocks_may_be(opened, save, name) -> None:
    big = [{"a": torch.randn(3, generator=g), "w": torch.randn(2100, 1001, generator=g)} for g in map(seeded, range(3))]
    base, *experts = opened(*(save(f"m{i}", model) for i, model in enumerate(big)))
    method = make(name)
    planned = plan(method, base, experts)
    assert [(unit.tensors, unit.rowwise) for unit in planned.units] == [
        (("a",), False),
        (("w",), method.need == "elementwise"),
    ]
    sink = Table()
    transform(planned.sources, sink, planned.units, planned.apply, workers=2)
    assert torch.equal(sink.tensors["w"], method.merge(big[0]["w"], [model["w"] for model in big[1:]], name="w"))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
