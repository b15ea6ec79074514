"""A live module is the stock one with the checkpoint's weights, and nothing of the folder is obeyed."""

import json
import shutil

import pytest
import torch

import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadConfig, MergebarrierError, UnknownTensor, UnsupportedFeature
from mergebarrier.evaluate import ModuleSink, load_module, load_tokenizer

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


def test_keys_outside_the_allow_list_have_no_effect(folders, tmp_path) -> None:
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
    with open_checkpoint(copy_with(folders, tmp_path, **config)) as checkpoint, pytest.raises(BadConfig) as refused:
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
    with pytest.raises(ValueError, match="int8"):
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


def test_a_tensor_without_a_place_is_refused(checkpoint) -> None:
    sink = ModuleSink(load_module(checkpoint))
    with pytest.raises(UnknownTensor, match=r"model\.extra"):
        sink.put("model.extra", torch.zeros(3))
    with pytest.raises(MergebarrierError, match="48"):
        sink.put("model.norm.weight", torch.zeros(3))
    sink.put("lm_head.weight", torch.zeros(96, 48))
    sink.put("model.layers.0.self_attn.rotary_emb.inv_freq", torch.zeros(6))
