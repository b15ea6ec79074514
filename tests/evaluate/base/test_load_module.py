"""A live module is the stock one with the checkpoint's weights, and nothing of the folder is obeyed."""

import json
import shutil

import pytest
import torch

import family_models
import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import (
    BadConfig,
    ConfigMismatch,
    MergebarrierError,
    UnknownTensor,
    UnsupportedFeature,
    UsageError,
)
from mergebarrier.evaluate import ModuleSink, hidden_states, load_module, load_tokenizer, logit_blocks, parameter_names

TOKENS = torch.randint(0, 96, (2, 24), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", tiny_models.CONFIGS)
def test_the_module_computes_what_the_stock_loader_computes(name, folders) -> None:
    with open_checkpoint(folders[name]) as checkpoint, torch.no_grad():
        module = load_module(checkpoint, "float32")
        assert torch.equal(module(TOKENS).logits, tiny_models.logits(folders[name], dtype=torch.float32))
        assert not module.training


@pytest.mark.parametrize("name", ["llama-gqa-untied", "gpt2-tied"])
def test_bfloat16_rounds_the_weights_and_not_the_rotary_frequencies(name, folders) -> None:
    with open_checkpoint(folders[name]) as checkpoint:
        module = load_module(checkpoint, "bfloat16")
    assert {parameter.dtype for parameter in module.parameters()} == {torch.bfloat16}
    assert all(b.dtype != torch.bfloat16 for key, b in module.named_buffers() if "inv_freq" in key)


def test_loading_leaves_the_random_state_and_the_terminal_alone(checkpoint, capfd) -> None:
    state = torch.get_rng_state()
    load_module(checkpoint)
    assert torch.equal(state, torch.get_rng_state())
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def copy_with(folders, tmp_path, **config):
    folder = tmp_path / "copy"
    shutil.copytree(folders["llama-mha-tied"], folder)
    document = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Name -> folder of a tiny checkpoint of the families."""
    parent = tmp_path_factory.mktemp("families")
    return lambda name: family_models.save(name, parent / name)


@pytest.mark.parametrize("name", family_models.MODELS)
def test_every_family_is_the_stock_class_on_its_folder(name, family) -> None:
    folder = family(name)
    with open_checkpoint(folder) as checkpoint:
        ours = load_module(checkpoint, "float32")
    stock, _ = family_models.stock(name, folder)
    # To the last bit but for the order of sums, which depends on where in memory a mapped file puts the weights.
    assert family_models.relative_error(family_models.answers(ours), family_models.answers(stock)) < 1e-6
    if stock.get_output_embeddings() is None or stock.config.is_encoder_decoder:
        return
    with torch.no_grad():
        whole = stock(input_ids=TOKENS[:1]).logits[0]
        ((_, logits),) = logit_blocks(ours, hidden_states(ours, TOKENS[:1])[0])
    assert torch.equal(logits, whole)  # scales and caps behind the head are part of the function


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("granite", "residual_multiplier", 0.9),
        ("smollm3", "no_rope_layers", [0, 1]),
        ("gemma2", "query_pre_attn_scalar", 64),
        ("mixtral", "num_experts_per_tok", 1),
    ],
)
def test_what_the_function_depends_on_is_never_left_behind(name, key, value, family) -> None:
    folder = family(name)
    with open_checkpoint(folder) as checkpoint:
        before = family_models.answers(load_module(checkpoint, "float32"))
    config = json.loads((folder / "config.json").read_text()) | {key: value}
    (folder / "config.json").write_text(json.dumps(config))
    with open_checkpoint(folder) as checkpoint:
        after = family_models.answers(load_module(checkpoint, "float32"))
    assert family_models.relative_error(after, before) > 1e-3
    assert family_models.relative_error(after, family_models.outputs(name, folder)) == 0


@pytest.mark.parametrize(
    ("name", "table", "key", "value"),
    [
        ("llama", "", "architecture", "hf-hub:someone/model"),
        ("llava", "vision_config", "pretrained_model_name_or_path", "someone/model"),
        ("llava", "text_config", "_attn_implementation_internal", "eager"),
        ("clip", "vision_config", "dtype", "float16"),
    ],
)
def test_what_names_a_place_or_a_way_of_computing_stays_behind(name, table, key, value, family) -> None:
    folder = family(name)
    config = json.loads((folder / "config.json").read_text())
    (config[table] if table else config)[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    with open_checkpoint(folder) as checkpoint:
        module = load_module(checkpoint, "float32")
    assert value not in module.config.to_json_string(use_diff=False)


def test_a_model_that_the_files_cannot_fill_takes_no_memory(family) -> None:
    folder = family("gptj")
    config = json.loads((folder / "config.json").read_text()) | {"n_positions": 2**31, "rotary_dim": 8}
    (folder / "config.json").write_text(json.dumps(config))
    with open_checkpoint(folder) as checkpoint, pytest.raises(ConfigMismatch, match="the files hold"):
        load_module(checkpoint, "float32")


def test_ways_of_computing_and_showing_have_no_effect(folders, tmp_path) -> None:
    folder = copy_with(
        folders, tmp_path, attn_implementation="eager", output_attentions=True, chunk_size_feed_forward=7
    )
    with open_checkpoint(folder) as checkpoint:
        module = load_module(checkpoint, "float32")
    assert module.config.chunk_size_feed_forward == 0 and not module.config.output_attentions
    assert module.config._attn_implementation != "eager"


@pytest.mark.parametrize(
    "config",
    [
        {"max_position_embeddings": 10**12},
        {"max_position_embeddings": "many"},
        {"rms_norm_eps": "tiny"},
        {"hidden_act": "os.system"},
        {"rope_parameters": {"rope_type": "no such"}},
        {"rope_parameters": 7},
    ],
)
def test_a_config_that_makes_no_model_is_refused_with_our_error(config, folders, tmp_path) -> None:
    folder = copy_with(folders, tmp_path, **config)
    with pytest.raises(BadConfig) as refused, open_checkpoint(folder) as checkpoint:
        load_module(checkpoint)
    assert "config.json" in str(refused.value) and "\n" not in str(refused.value)


def test_a_folder_without_a_usable_tokenizer_is_refused(folders, tmp_path) -> None:
    folder = copy_with(folders, tmp_path)
    for text in ("{", '{"version": "1.0"}', "[" * 1000):
        (folder / "tokenizer.json").write_text(text)
        with open_checkpoint(folder) as checkpoint, pytest.raises(BadConfig):
            load_tokenizer(checkpoint)
    (folder / "tokenizer.json").unlink()
    with open_checkpoint(folder) as checkpoint, pytest.raises(UnsupportedFeature, match=r"tokenizer\.json"):
        load_tokenizer(checkpoint)


def test_an_unknown_dtype_is_a_fault_of_the_caller(checkpoint) -> None:
    with pytest.raises(UsageError, match="int8"):
        load_module(checkpoint, "int8")


@pytest.mark.parametrize("name", tiny_models.CONFIGS)
def test_tensors_poured_into_a_live_module_make_it_the_other_model(name, folders, tmp_path) -> None:
    other = tiny_models.save(name, tmp_path / "other", seed=3)
    with open_checkpoint(folders[name]) as first, open_checkpoint(other) as second, torch.no_grad():
        module = load_module(first, "float32")
        sink = ModuleSink(module)
        for tensor in second.tensors:
            assert not sink.done(tensor)
            whole = second.read(tensor)
            half = len(whole) // 2
            sink.put_rows(tensor, half, whole[half:])
            sink.put_rows(tensor, 0, whole[:half])
            sink.finish(tensor, (tensor,))
        assert torch.equal(module(TOKENS).logits, load_module(second, "float32")(TOKENS).logits)


@pytest.mark.parametrize("name", ["vit", "dinov2withregisters", "xlmroberta", "gpt_neox", "qwen2_vl"])
def test_names_that_versions_of_transformers_spell_differently_find_their_parameters(name, tmp_path) -> None:
    family_models.module(name).save_pretrained(tmp_path)
    with open_checkpoint(tmp_path) as opened:
        module = load_module(opened, "float32")
        assert set(parameter_names(module, opened.tensors).values()) == {one for one, _ in module.named_parameters()}


def test_a_tensor_without_a_place_is_refused(checkpoint) -> None:
    sink = ModuleSink(load_module(checkpoint))
    with pytest.raises(UnknownTensor, match=r"model\.extra"):
        sink.put("model.extra", torch.zeros(3))
    with pytest.raises(MergebarrierError, match="48"):
        sink.put("model.norm.weight", torch.zeros(3))
    sink.put("lm_head.weight", torch.zeros(96, 48))
    sink.put("model.layers.0.self_attn.rotary_emb.inv_freq", torch.zeros(6))


def test_a_backup_that_is_made_before_a_model_is_loaded_ends_nothing(folders, tmp_path) -> None:
    folder = shutil.copytree(folders["llama-gqa-untied"], tmp_path / "m")
    with open_checkpoint(folder) as checkpoint:
        (tmp_path / "backup").hardlink_to(folder / "model.safetensors")
        load_module(checkpoint, "float32")


@pytest.mark.parametrize("alone", [True, False])
def test_a_head_that_is_stored_alone_is_the_embedding(alone: bool, tmp_path) -> None:
    """transformers#34759; where both are stored, the embedding counts."""
    embedding, head = "model.embed_tokens.weight", "lm_head.weight"
    with open_checkpoint(tiny_models.save("llama-mha-tied", tmp_path / "m")) as opened:
        module = load_module(opened, "float32")
        stored = {*opened.tensors, head} - ({embedding} if alone else set())
    assert {one for one, own in parameter_names(module, stored).items() if own == embedding} == {
        head if alone else embedding
    }
