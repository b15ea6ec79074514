"""Models that do not belong together are refused before any arithmetic; those that do are merged tensor by tensor."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch

from merge_models import fit, tensors
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadMergeParameter, ConfigMismatch, ShapeMismatch, TensorSetMismatch, UnknownFamily
from mergebarrier.merge import make, plan
from mergebarrier.run import peak_bytes, transform

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


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        ({"rope_parameters": {"rope_theta": 1e4}}, {"rope_theta": 5e5}, "rope_theta is 500000.0, a has 10000.0"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, {"rope_parameters": {"rope_type": "yarn", "factor": 2}},
         "rope_type is 'yarn', a has 'linear'"),
        ({"attn_logit_softcapping": 50.0}, {"attn_logit_softcapping": None}, "attn_logit_softcapping is None"),
        ({"residual_multiplier": 0.3}, {"residual_multiplier": 1.0}, "residual_multiplier is 1.0, a has 0.3"),
        ({"residual_multiplier": 0.3}, {}, "its configuration does not say residual_multiplier = 0.3, which is kept"),
        ({}, {"num_experts_per_tok": 2}, "only its configuration says num_experts_per_tok = 2"),
        ({"text_config": {"rope_theta": 1e4}}, {"text_config": {"rope_parameters": {"rope_theta": 1e6}}},
         "text_config.rope_theta is 1000000.0, a has 10000.0"),
        ({"vision_config": {"layer_norm_eps": 1e-5}}, {"vision_config": {"layer_norm_eps": 1e-6}}, "layer_norm_eps is"),
        ({"rope_theta": 1e6, "rope_local_base_freq": 1e4},
         {"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 2e4}}},
         "rope_parameters.sliding_attention.rope_theta is 20000.0"),
        ({"text_config": {"norm_topk_prob": False}}, {"text_config": {}}, "text_config.norm_topk_prob = False"),
        ({"use_sliding_window": True, "sliding_window": None}, {}, "does not say use_sliding_window = True"),
        ({"output_multiplier": 0.5}, {"output_multiplier": 1.0}, "output_multiplier is 1.0, a has 0.5"),
        ({"hidden_act": "gelu"}, {"hidden_act": "gelu_pytorch_tanh"}, "is 'gelu_pytorch_tanh', a has 'gelu'"),
        ({"made_up_by_someone": [1, {"a": 2}]}, {"made_up_by_someone": [1, {"a": 3}]}, "made_up_by_someone"),
    ],
)  # fmt: skip
def test_every_difference_of_configurations_is_said(ours, theirs, says, opened, save) -> None:
    folders = save("a", tensors(0), **ours), save("b", tensors(1), **theirs)
    (note,) = plan(make("linear"), None, opened(*folders)).notes
    assert "b: " in note and says in note


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"rope_theta": 5e5}, {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
        ({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}},
         {"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2}}),
        ({}, {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
        ({"hidden_size": 6, "num_attention_heads": 2},
         {"hidden_size": 6, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 3}),
        ({"torch_dtype": "float16", "use_cache": True, "eos_token_id": 2, "attention_dropout": 0.1},
         {"dtype": "bfloat16", "eos_token_id": [2, 3], "attention_dropout": 0.0, "transformers_version": "5.0"}),
        ({}, {"attention_bias": False, "pretraining_tp": 1, "logits_scaling": 1.0, "sliding_window": None}),
        ({"text_config": {"_name_or_path": "x"}}, {"text_config": {}}),
        ({"hidden_act": "silu"}, {"hidden_act": "swish"}),
    ],
)  # fmt: skip
def test_what_no_function_depends_on_is_not_said(ours, theirs, opened, save) -> None:
    folders = save("a", tensors(0), **ours), save("b", tensors(1), **theirs)
    assert plan(make("linear"), None, opened(*folders)).notes == ()


@pytest.mark.parametrize("key", ["num_attention_heads", "head_dim", "num_key_value_heads", "hidden_act", "model_type"])
def test_nested_tables_must_agree_about_how_heads_are_cut(key, opened, save) -> None:
    folders = save("a", tensors(0), text_config={key: 2}), save("b", tensors(1), text_config={key: 4})
    with pytest.raises(ConfigMismatch, match=rf"b: text_config\.{key} is 4, a has 2"):
        plan(make("linear"), None, opened(*folders))


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
    if method.need == "circuit":
        with pytest.raises(UnknownFamily):
            plan(method, base, fit(method, experts))
        return
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
    whole = method.merge(big[0]["w"], [model["w"] for model in big[1:]], name="w")
    assert torch.equal(sink.tensors["w"], whole)
    passes = [replace(unit, rowwise=False, streamed=unit.name == "w") for unit in planned.units]
    assert peak_bytes(passes[1], planned.sources) < peak_bytes(replace(passes[1], streamed=False), planned.sources)
    sink = Table()
    transform(planned.sources, sink, passes, planned.change, workers=2)
    assert torch.equal(sink.tensors["w"], whole)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
