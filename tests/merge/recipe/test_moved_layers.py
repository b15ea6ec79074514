"""A configuration says of every layer of slices what it said where the layer came from, judged by stock classes."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from mergebarrier.circuits import LAWS, LayerOrigin, with_layers
from mergebarrier.circuits.places import RHYTHMS, UNSAID
from mergebarrier.errors import ConfigMismatch, TensorSetMismatch
from mergebarrier.merge.recipe.layers import counted, layer_counts, only_stack
from mergebarrier.merge.recipe.moved import check_held, check_numbers, kinds, lists_of, mixed
from recipe_models import layered

SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64,
    "max_position_embeddings": 64, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
MOE = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
ROUTED = {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": None, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
#: type -> (layers, its own settings, keys that an older file lacks)
MODELS: dict[str, tuple[int, dict[str, Any], tuple[str, ...]]] = {
    "gemma2": (5, {"sliding_window": 4}, ("layer_types",)),
    "gemma3_text": (7, {"sliding_window": 4}, ("layer_types",)),
    "qwen2": (5, {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 2}, ("layer_types",)),
    "qwen2_moe": (5, {"decoder_sparse_step": 2, "shared_expert_intermediate_size": 16, **MOE}, ("layer_types",)),
    "qwen3_moe": (4, {"mlp_only_layers": [1], **MOE}, ()),
    "llama4_text": (
        6, {"interleave_moe_layer_step": 2, "num_local_experts": 2, "intermediate_size_mlp": 64},
        ("layer_types", "no_rope_layers", "moe_layers"),
    ),
}  # fmt: skip
MORE: dict[str, tuple[int, dict[str, Any], tuple[str, ...]]] = {
    "bamba": (4, {"attn_layer_indices": [1, 3], **MAMBA}, ()),
    "gpt_neo": (4, {"num_heads": 4, "attention_types": [[["global", "local"], 2]], "window_size": 4}, ()),
    "recurrent_gemma": (5, {"lru_width": 32, "attention_window_size": 8}, ()),
    "cohere2": (6, {"sliding_window": 4}, ("layer_types",)),
    "olmo3": (6, {"sliding_window": 4}, ("layer_types",)),
    "exaone4": (5, {"sliding_window": 4, "sliding_window_pattern": 4}, ("layer_types",)),
    "smollm3": (6, {}, ("layer_types", "no_rope_layers")),
    "gpt_oss": (4, {"num_local_experts": 4, "sliding_window": 4}, ()),
    "minimax": (4, {"num_local_experts": 2, "block_size": 8}, ()),
    "qwen3_next": (
        5, {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
            "linear_value_head_dim": 8, "shared_expert_intermediate_size": 16, **MOE}, ("layer_types",),
    ),
    "lfm2": (4, {"full_attn_idxs": [1, 3], "conv_L_cache": 3, "block_multiple_of": 8}, ()),
    "granitemoehybrid": (
        4, {"layer_types": ["mamba", "attention", "mamba", "attention"], "num_local_experts": 0,
            "shared_intermediate_size": 16, **MAMBA}, (),
    ),
    "exaone_moe": (5, {"first_k_dense_replace": 1, "num_shared_experts": 1, "n_group": 1, "topk_group": 1, **MOE}, ()),
    "glm4_moe_lite": (4, {**ROUTED, **LATENT, "q_lora_rank": 16, "num_key_value_heads": 4}, ()),
    "jamba": (6, {"attn_layer_period": 3, "attn_layer_offset": 1, "num_experts": 2, "mamba_dt_rank": 4}, ()),
}  # fmt: skip
LISTS = ("layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type", "attention_layers")


def stock_config(kind: str, n_layers: int, more: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **{**SMALL, "num_hidden_layers": n_layers, **more})


@pytest.fixture
def stacked(run_cli, tmp_path):
    """Return ``stacked(kind, n_layers, settings, silent, ranges)``: the stock model, the run and the output."""
    from transformers import AutoModelForCausalLM

    def run(kind: str, n_layers: int, more: dict[str, Any], silent: tuple[str, ...], ranges: list[list[int]]):
        torch.manual_seed(0)
        module = AutoModelForCausalLM.from_config(stock_config(kind, n_layers, more)).float().eval()
        module.save_pretrained(tmp_path / "m")
        file = tmp_path / "m" / "config.json"
        file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k not in silent}))
        rows = "".join(f"  - sources: [{{model: {tmp_path / 'm'}, layer_range: {one}}}]\n" for one in ranges)
        (tmp_path / "r.yaml").write_text(f"merge_method: passthrough\nslices:\n{rows}")
        return module, run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out"), tmp_path / "out"

    return run


def loaded(folder) -> Any:
    """Load a folder in its stock class, which must miss nothing and be given nothing too many."""
    from transformers import AutoModelForCausalLM

    module, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return module.eval()


ALL = [
    *(pytest.param(kind, id=kind) for kind in MODELS),
    *(pytest.param(kind, id=kind, marks=pytest.mark.slow) for kind in MORE),
]


@pytest.mark.parametrize("kind", ALL)
def test_every_layer_is_what_it_was(stacked, kind) -> None:
    n_layers, more, silent = (MODELS | MORE)[kind]
    module, ran, out = stacked(kind, n_layers, more, silent, [[1, n_layers], [0, 1]])
    assert ran.exit_code == 0, ran.stderr
    order = [*range(1, n_layers), 0]
    merged = loaded(out)
    for key in LISTS:
        said = getattr(module.config, key, None)
        if isinstance(said, list) and len(said) == n_layers:
            assert getattr(merged.config, key) == [said[layer] for layer in order], key


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text", "qwen3_moe"])
def test_the_output_answers_as_its_layers_in_their_new_order(stacked, kind) -> None:
    n_layers, more, silent = MODELS[kind]
    ranges = [[0, 3], [1, n_layers]]
    module, ran, out = stacked(kind, n_layers, more, silent, ranges)
    assert ran.exit_code == 0, ran.stderr
    order = [layer for start, stop in ranges for layer in range(start, stop)]
    layers = module.model.layers
    module.model.layers = torch.nn.ModuleList(layers[layer] for layer in order)
    module.config.num_hidden_layers = len(order)
    if getattr(module.config, "layer_types", None):
        module.config.layer_types = [module.config.layer_types[layer] for layer in order]
    tokens = torch.arange(20).reshape(1, -1) + 3
    with torch.no_grad():
        assert torch.allclose(loaded(out)(tokens, use_cache=False).logits, module(tokens, use_cache=False).logits)


@pytest.mark.parametrize("count", [1, 2])
def test_a_number_becomes_another_where_that_says_it(stacked, count) -> None:
    more = {"first_k_dense_replace": count, "num_key_value_heads": 4, **ROUTED, **LATENT}
    _, ran, out = stacked("deepseek_v3", 3, more, (), [[0, 1], [0, 3]])
    assert ran.exit_code == 0, ran.stderr
    assert loaded(out).config.first_k_dense_replace == count + 1


@pytest.mark.parametrize(
    ("kind", "more", "says"),
    [
        ("deepseek_v3", {"first_k_dense_replace": 1, "num_key_value_heads": 4, **ROUTED, **LATENT},
         "m/config.json: first_k_dense_replace cannot say what layers the output has: layer 3 would be sparse"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("diffllama", {}, "lambda_init"),
        ("gemma4_text", {"global_head_dim": 8, "hidden_size_per_layer_input": 0}, "end with a layer of full attention"),
    ],
)  # fmt: skip
def test_what_no_key_can_say_is_refused_by_its_name(stacked, kind, more, says) -> None:
    ranges = [[0, 3], [0, 2]] if kind == "gemma4_text" else [[0, 3], [0, 3]]
    _, ran, out = stacked(kind, 3, more, (), ranges)
    assert ran.exit_code == 2 and says in ran.stderr and not out.exists(), ran.stderr


KINDS = sorted({*RHYTHMS, *(kind for law in LAWS for kind in law.types | law.only), "qwen2", "qwen2_moe", "qwen3"})


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_laws_say_what_stock_classes_derive(every) -> None:
    """Every list per layer that a stock class makes of a configuration without it, where a law tells layers apart."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    seen = set()
    for kind in CONFIG_MAPPING if every else KINDS:
        for n_layers in (12, 13):
            try:
                config = CONFIG_MAPPING[kind](num_hidden_layers=n_layers).to_dict()
            except Exception:  # a class that wants more than a number of layers
                continue
            older = {key: value for key, value in config.items() if key not in LISTS}
            for law in (law for law in LAWS if law.listed and law.holds_for(config, "")):
                ours = [law.of(older, layer, n_layers) for layer in range(n_layers)]
                theirs = config.get(law.listed)
                if len(set(ours)) > 1 and isinstance(theirs, list) and (not law.types or kind in law.types):
                    assert ours == theirs, (kind, law.listed)
                    seen.add(kind)
    assert len(seen) > 25 and {"gemma2", "gemma3_text", "cohere2", "modernbert", "smollm3", "zamba"} <= seen


def moved(config: dict[str, Any], order: list[int], **more: Any) -> tuple[dict[str, Any], list[str]]:
    n_layers, counts = more.pop("n_layers", 4), more.pop("counts", None)
    counted_by = ["n_layer"] if counts is None else counts
    whole = config if counts is not None else {**config, "n_layer": n_layers}
    origins = [LayerOrigin(config=whole, n_layers=n_layers, layer=layer) for layer in order]
    changed, notes = with_layers(whole, n_layers, origins, counts=counted_by, **more)
    return {key: value for key, value in changed.items() if key in config or key != "n_layer"}, notes


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"hybrid_override_pattern": "ME*-"}, {"hybrid_override_pattern": "-ME"}),
        ({"pruned_heads": {"0": [1], "3": [2]}}, {"pruned_heads": {"0": [2], "1": [1]}}),
        ({"num_query_heads": [4, 6, 8, 12]}, {"num_query_heads": [12, 4, 6]}),
        ({"ple_layer_ids": [1, 4]}, {"ple_layer_ids": [1, 2]}),
        ({"cross_attention_layers": [3]}, {"cross_attention_layers": [0]}),
        (
            {"model_type": "nllb-moe", "encoder_sparse_step": 4, "decoder_sparse_step": 3},
            {"decoder_sparse_step": 4},
        ),
        ({"model_type": "exaone4", "sliding_window_pattern": "LLLG"},
         {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}),
        ({"moe_layer_start_index": 1, "moe_layer_end_index": 2, "moe_layer_interval": 1},
         {"moe_layer_interval": 3}),
        ({"layers_block_type": ["mamba", "mamba", "attention", "moe"], "time_step_limit": [0, 1], "rescale_every": 6},
         {"layers_block_type": ["moe", "mamba", "mamba"]}),
        ({"eos_token_id": [1, 2, 3, 4], "id2label": {"0": "a", "1": "b"}, "attention_types": [[["x"], 10**12], 7]}, {}),
    ],
)  # fmt: skip
def test_every_form_of_a_key_follows_its_layers(before, after) -> None:
    assert moved(before, [3, 0, 1], stack="decoder.layers")[0] == before | after


def test_numbers_may_be_a_list_per_layer_as_well() -> None:
    config = {"model_type": "odd", "moe_layer_freq": [0, 1, 1, 0]}
    assert moved(config, [1, 0, 2])[0] == config | {"moe_layer_freq": [1, 0, 1]}
    assert moved({**config, "first_k_dense_replace": 1}, [1, 2, 3])[0]["first_k_dense_replace"] == 0
    with pytest.raises(ConfigMismatch, match="first_k_dense_replace and moe_layer_freq cannot say"):
        moved({"first_k_dense_replace": 2, "moe_layer_freq": [1, 1, 1, 1]}, [2, 0, 3])


@pytest.mark.parametrize(
    ("config", "order"),
    [
        ({"cross_layer_interval": 2}, [1, 2, 3]),
        ({"cross_attention_frequency": 2}, [1, 2, 3]),
        ({"n_layers_per_attn_res_block": 2}, [1, 2, 3]),
        ({"aligner_num_add_layers": 2}, [0, 2, 1, 3]),
        ({"stagger_local_blocks": True}, [0, 2]),
        ({"attn_norm": 1, "model_type": "modernbert"}, [1, 2, 3]),
        ({"contact_head": 1, "model_type": "esm"}, [0, 1]),
    ],
)
def test_what_a_class_counts_out_is_refused_by_its_key(config, order) -> None:
    assert moved(config, [0, 1, 2, 3])[0] == config
    with pytest.raises(ConfigMismatch, match=f"{next(iter(config))} cannot say"):
        moved(config, order)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_lists_that_a_class_makes_are_moved_or_refused(every) -> None:
    """A configuration without its lists per layer, as labs publish it: what the stock class makes of the output."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    refused, order = set(), [*range(1, 12), 0]
    for kind in CONFIG_MAPPING if every else sorted({*KINDS, *UNSAID} & {*CONFIG_MAPPING}):
        try:
            said, longer = (CONFIG_MAPPING[kind](num_hidden_layers=n).to_dict() for n in (12, 13))
        except Exception:  # a class that wants more than a number of layers
            continue
        lists = [
            key
            for key, value in said.items()
            if isinstance(value, list) and len(value) == 12 and isinstance(longer[key], list) and len(longer[key]) == 13
        ]
        if said.get("num_hidden_layers") != 12 or not lists:
            continue
        older = {key: value for key, value in said.items() if key not in lists}
        try:
            config, _ = moved(older, order, n_layers=12, counts=["num_hidden_layers"])
        except ConfigMismatch:
            refused.add(kind)
            continue
        made = CONFIG_MAPPING[kind](**{k: v for k, v in config.items() if k != "transformers_version"}).to_dict()
        for key in lists:
            wanted = [said[key][layer] for layer in order]
            assert made[key] == wanted or said[key] == list(range(12)), (kind, key)
    assert {*UNSAID} & {*CONFIG_MAPPING} <= refused
    with pytest.raises(ConfigMismatch, match=r"mlp_layer_types is not said .* the class of hy_v3 .*AutoConfig"):
        moved({"model_type": "hy_v3"}, [1, 0])


def test_what_a_shared_block_keeps_for_its_layers_is_not_moved() -> None:
    kinds = ["mamba", "hybrid", "mamba", "hybrid"]
    config = {"num_mem_blocks": 1, "layers_block_type": kinds, "hybrid_layer_ids": [1, 3]}
    changed = {"layers_block_type": kinds[1:], "hybrid_layer_ids": [0, 2]}
    assert moved(config, [1, 2, 3]) == (config | changed, [])
    with pytest.raises(ConfigMismatch, match="num_mem_blocks cannot say"):
        moved(config, [0, 1, 2])


def test_a_side_with_a_law_of_its_own_is_asked_for_itself() -> None:
    config = {"model_type": "nllb-moe", "encoder_sparse_step": 4, "decoder_sparse_step": 2}
    with pytest.raises(ConfigMismatch, match="encoder_sparse_step cannot say"):
        moved(config, [3, 0, 3], stack="model.encoder.layers")
    switch = {"model_type": "switch_transformers", "num_sparse_encoder_layers": 1, "num_layers": 4}
    found = moved(switch, [1, 1, 1], stack="encoder.block", counts=["num_layers"])[0]
    assert found == switch | {"num_layers": 3, "num_sparse_encoder_layers": 2}


def test_a_list_for_another_number_of_layers_is_left_and_a_wrong_count_refused(run_cli, save, tmp_path) -> None:
    stale = {"layer_types": ["x"] * 6, "model_type": "llama"}
    assert moved(stale, [0, 1, 0, 1, 2, 3])[0]["layer_types"] == ["x"] * 6
    assert "layer_types is for 6 layers, the model has 4" in moved(stale, [0, 1])[1][0]
    folder = save("a", layered(1), num_hidden_layers=6, tie_word_embeddings=False)
    row = f"  - sources: [{{model: {folder}, layer_range: [0, 3]}}]\n"
    (tmp_path / "r.yaml").write_text(f"merge_method: passthrough\nslices:\n{row}{row}")
    ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "num_hidden_layers = 6, and model.layers has 3" in ran.stderr


def test_lists_of_another_model_are_asked_where_it_has_some() -> None:
    ours = {"layer_types": ["a", "b", "c"], "eos_token_id": [1, 2, 3], "mlp_only_layers": [1], "odd_every": 3}
    theirs = {"layer_types": ["x", "y"]}
    rows = [(ours, 3, 2), (theirs, 2, 1), (ours, 3, 1), ({}, 2, 1)]
    origins = [LayerOrigin(config=config, n_layers=n, layer=layer) for config, n, layer in rows]
    config, notes = with_layers({"num_hidden_layers": 3, **ours}, 3, origins, counts=["num_hidden_layers"])
    assert config["layer_types"][:3] == ["c", "y", "b"] and config["mlp_only_layers"] == [2]
    assert config["num_hidden_layers"] == 4 and config["eos_token_id"] == [1, 2, 3]
    assert notes == ["config.json: odd_every may name layers and was left as it is"]
    assert moved({}, [0, 2, 1], n_layers=3, counts=[])[1] == []
    with pytest.raises(ConfigMismatch, match=r"no key counts the layers.*not 1; add the key .* num_hidden_layers: 3"):
        moved({}, [0], n_layers=3, counts=[])
    for unknown in ({"num_spatial_layers": 3}, {"depths": [2, 2, 6]}):
        with pytest.raises(ConfigMismatch, match=f"{next(iter(unknown))} may count the layers"):
            moved(unknown, [0], n_layers=3, counts=[])
    pair = [origins[:2], [origins[0], origins[0]]]
    (note,) = mixed(pair, "h")
    assert "1 layers of the output are merged from layers of two kinds, such as h.0 (c and y)" in note


def test_what_a_class_makes_by_the_number_of_a_layer_is_stored_or_the_layer_stays() -> None:
    """MiniMax computes the slope of its decay from number and count of layers where the file does not hold it."""
    config = {"model_type": "minimax"}
    bare = [f"h.{layer}.self_attn.qkv_proj.weight" for layer in range(2)]
    buffers = ("slope_rate", "query_decay", "key_decay", "diagonal_decay")
    full = [*bare, *(f"h.{layer}.self_attn.{part}" for layer in range(2) for part in buffers)]
    stays = [LayerOrigin(config=config, n_layers=2, layer=layer) for layer in range(2)]
    check_numbers(stays, bare, "h", "config.json")
    check_numbers(stays[::-1], full, "h", "config.json")
    for moved_ones in (stays[::-1], [replace(one, n_layers=3) for one in stays]):
        with pytest.raises(ConfigMismatch, match="holds no slope_rate, which its class makes by the layer's number"):
            check_numbers(moved_ones, bare, "h", "config.json")


@pytest.mark.parametrize(
    ("stack", "config"),
    [
        ("visual.blocks", {"depth": 3}),
        ("model.layers", {"layers": 3}),
        ("model.decoder.layers", {"encoder_num_hidden_layers": 2, "decoder_num_hidden_layers": 3}),
        ("model.encoder.layers", {"encoder_num_hidden_layers": 3, "decoder_num_hidden_layers": 2}),
    ],
)
def test_other_words_for_the_number_of_layers(stack: str, config: dict[str, Any]) -> None:
    (word,) = [key for key in layer_counts(config, stack) if config[key] == 3]
    assert "encoder" in word if "encoder" in stack else "encoder" not in word
    assert counted(config, stack, 3) == (None, 3)


def test_a_tower_beside_a_language_model_stays_whole() -> None:
    config = {"vision_config": {"depth": 2}, "text_config": {"num_hidden_layers": 3}}
    names = [f"visual.blocks.{layer}.w" for layer in range(2)] + [f"model.layers.{layer}.w" for layer in range(3)]
    assert only_stack(names, config, "m") == ("model.layers", 3)


def test_layers_hold_what_layers_of_their_kind_hold() -> None:
    """Kinds that a law tells apart, then a first layer that nothing tells apart: its place does."""
    law, plain = {"first_k_dense_replace": 1}, {}
    dense, sparse = {"up": (2, 2)}, {"gate": (2, 2)}
    before = {0: dense, 1: sparse, 2: sparse}
    for config in (law, plain):
        was = kinds(config, 3, "h")
        check_held(before, was, {0: dense, 1: sparse}, kinds(config, 2, "h"), "h")
        check_held(before, was, {0: dense, **dict.fromkeys(range(1, 5), sparse)}, kinds(config, 5, "h"), "h")
        for after, says in (
            ({0: dense, 1: dense}, "h.1 of the output has up"),
            ({0: {}, 1: sparse}, "h.0 of the output lacks up"),
            ({0: {"up": (2, 3)}, 1: sparse}, r"h.0 of the output has up in the shape \[2, 3\] in place of \[2, 2\]"),
        ):
            with pytest.raises(TensorSetMismatch, match=says):
                check_held(before, was, after, kinds(config, 2, "h"), "h")


def test_what_one_layer_of_a_kind_lacks_is_a_matter_of_its_place() -> None:
    """ModernBERT's first layer has no norm before its attention, whatever its kind of attention is."""
    full, sliding, first = {"norm": (2,), "full": (2,)}, {"norm": (2,), "window": (2,)}, {"full": (2,)}
    before, was = dict(enumerate((first, sliding, full, sliding))), [("f",), ("s",), ("f",), ("s",)]
    check_held(before, was, {0: first, 1: full}, [("f",), ("f",)], "h")
    with pytest.raises(TensorSetMismatch, match=r"h\.0 of the output has norm"):
        check_held(before, was, {0: sliding, 1: full}, [("s",), ("f",)], "h")
    table = {"architectures": ["A"], "layer_types": ["f", "s"], "n": [1, 2]}
    assert lists_of(table, 2, {**table, "layer_types": ["s"], "n": [2]}, 1) == ["layer_types", "n"]


def test_the_side_that_is_cut_is_counted(run_cli, tmp_path) -> None:
    from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(d_model=16, d_kv=4, d_ff=32, num_layers=3, num_heads=4, vocab_size=32)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    old = {key: value for key, value in json.loads(file.read_text()).items() if key != "num_decoder_layers"}
    file.write_text(json.dumps(old))
    for side, ranges, expected in (
        ("decoder", [[0, 2]], {"num_layers": 3, "num_decoder_layers": 2}),
        ("encoder", [[0, 2], [1, 3]], {"num_layers": 4, "num_decoder_layers": 3}),
        (
            "encoder",
            [[0, 2], [0, 3]],
            "encoder.block.2 of the output has layer.0.SelfAttention.relative_",
        ),
    ):
        rows = "".join(f"      - sources: [{{model: {tmp_path / 'm'}, layer_range: {one}}}]\n" for one in ranges)
        whole = f"{{models: [{{model: {tmp_path / 'm'}}}]}}"
        other = "encoder" if side == "decoder" else "decoder"
        text = (
            f"merge_method: passthrough\nmodules:\n  {side}:\n    slices:\n{rows}  {other}: {whole}\n  rest: {whole}\n"
        )
        (tmp_path / "r.yaml").write_text(text)
        ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out", "--overwrite")
        if isinstance(expected, str):
            assert ran.exit_code == 2 and expected in ran.stderr
            continue
        assert ran.exit_code == 0, ran.stderr
        module, info = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out", output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        assert {key: getattr(module.config, key) for key in expected} == expected


def test_layers_that_predict_further_tokens_are_left_out_and_said(run_cli, save, tmp_path) -> None:
    more = {"num_hidden_layers": 3, "num_nextn_predict_layers": 1, "tie_word_embeddings": False}
    folder, recipe = save("a", layered(1, layers=4), **more), tmp_path / "r.yaml"
    text = "merge_method: passthrough\nslices:\n  - sources: [{model: %s, layer_range: [0, %d]}]\n"
    recipe.write_text(text % (folder, 4))
    assert "ends after its 3 layers" in run_cli("merge", recipe, "-o", tmp_path / "out").stderr
    recipe.write_text(text % (folder, 2))
    ran = run_cli("merge", recipe, "-o", tmp_path / "out")
    assert ran.exit_code == 0 and "slices hold no layers that predict further tokens" in ran.stderr, ran.stderr
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["num_hidden_layers"] == 2 and config["num_nextn_predict_layers"] == 0


def test_a_table_inside_speaks_of_its_own_layers(run_cli, save, tmp_path) -> None:
    tower = {name.replace("model.layers", "vision.layers"): t for name, t in layered(2).items() if ".layers." in name}
    text = {"model_type": "gemma3_text", "num_hidden_layers": 6, "sliding_window_pattern": 3}
    folder = save("a", layered(1, layers=6) | tower, text_config=text, vision_config={"num_hidden_layers": 3})
    whole = f"{{models: [{{model: {folder}}}]}}"
    one = f"{{sources: [{{model: {folder}, layer_range: [1, 4]}}]}}"
    rows = f"[{one}, {one}]"
    (tmp_path / "r.yaml").write_text(
        f"merge_method: passthrough\nmodules:\n  vision: {whole}\n  text: {{slices: {rows}}}\n"
    )
    ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    layers = ["sliding_attention", "full_attention", "sliding_attention"] * 2
    assert config["text_config"] == text | {"layer_types": layers}
    assert config["vision_config"] == {"num_hidden_layers": 3} and "layer_types says per layer" in ran.stderr
