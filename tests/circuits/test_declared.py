"""Configurations that say other sizes than the files hold: refused by what merges and protects; honest ones pass."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import check_declared
from mergebarrier.errors import ConfigMismatch

EMBED = "model.embed_tokens.weight"


def says(folder: Path, **changes: object) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"vocab_size": 97}, "vocab_size = 97, and model.embed_tokens.weight has 96 rows"),
        ({"num_hidden_layers": 1}, "num_hidden_layers = 1, and model.layers has 2"),
        ({"num_hidden_layers": 3}, "num_hidden_layers = 3, and model.layers has 2"),
        ({"intermediate_size": 24}, "intermediate_size = 24"),
    ],
)
def test_merges_and_protections_are_refused(run_cli, tmp_path, changes, held) -> None:
    one, other = (tiny_models.save("llama-mha-tied", tmp_path / f"m{seed}", seed=seed) for seed in (0, 1))
    rows = json.loads((one / "config.json").read_text())["vocab_size"]
    held = held.replace("96", str(rows))
    says(other, **changes)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"merge_method: linear\nmodels:\n- {{model: {one}, parameters: {{weight: 1}}}}\n"
                      f"- {{model: {other}, parameters: {{weight: 1}}}}\n")  # fmt: skip
    for words in (("merge", recipe), ("merge", one, other, "--method", "linear"), ("merge", other, one, "--method",
                  "linear")):  # fmt: skip
        ran = run_cli(*words, "-o", tmp_path / "out")
        assert ran.exit_code == 2 and held in ran.stderr and "m1" in ran.stderr, ran.stderr
    ran = run_cli("protect", other, "-o", tmp_path / "out", "--key", tmp_path / "k")
    assert ran.exit_code == 2 and not (tmp_path / "out").exists(), ran.stderr


def test_verify_says_what_the_class_wants(run_cli, tmp_path) -> None:
    model = tiny_models.save("gpt2-tied", tmp_path / "m", seed=0)
    held = json.loads((model / "config.json").read_text())["n_positions"]
    says(model, n_positions=2 * held)
    ran = run_cli("verify", model, model)
    assert ran.exit_code == 2 and "wpe.weight: the stock class cannot take this tensor as stored" in ran.stderr
    assert f"stored ({held}, 48) and wanted ({2 * held}, 48)" in ran.stderr, ran.stderr


def made(folder: Path, tensors: dict[str, tuple[int, ...]], **config: object) -> Path:
    folder.mkdir()
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


LAYER = "model.layers.{}.mlp.experts.{}.gate_proj.weight"
MOE = {EMBED: (10, 8), **{LAYER.format(layer, e): (4, 8) for layer in range(3) for e in range(4)}}
HONEST = {
    "further": (MOE, {"model_type": "glm4_moe", "num_hidden_layers": 2, "num_nextn_predict_layers": 1}),
    "further left out": (MOE, {"model_type": "glm4_moe", "num_hidden_layers": 3, "num_nextn_predict_layers": 1}),
    "silent": (MOE, {"model_type": "glm4_moe"}),
    "further unsaid": (MOE | {"model.layers.2.eh_proj.weight": (8, 16)},
                       {"model_type": "glm4_moe", "num_hidden_layers": 2}),
    "padded": ({"backbone.embeddings.weight": (16, 8)}, {"model_type": "mamba", "vocab_size": 10,
                                                         "pad_vocab_size_multiple": 8}),
    "tied as the head": ({"lm_head.weight": (10, 8)}, {"model_type": "llama", "vocab_size": 10, "hidden_size": 8}),
    "nested": ({"model.language_model.embed_tokens.weight": (10, 8)},
               {"model_type": "new", "vocab_size": 12, "text_config": {"vocab_size": 10, "hidden_size": 8}}),
}  # fmt: skip
PLAIN = {"model_type": "new", "vocab_size": 10, "hidden_size": 8}
ROWS = {"transformer.wte.weight": (10, 8), "transformer.wpe.weight": (18, 8)}
FIRST = {"transformer.h.0.mlp.c_fc.weight": (8, 32)}
SEEN = {"vit.embeddings.position_embeddings": (1, 17, 8)}
NARROW = {"model.decoder.embed_tokens.weight": (10, 8), "model.decoder.layers.0.final_layer_norm.weight": (16,)}
GROUPED = {"model.layers.0.self_attn.k_proj.weight": (8, 8), "model.layers.0.self_attn.v_proj.weight": (8, 8)}
HONEST |= {
    "projected": (NARROW, {"model_type": "new", "hidden_size": 16, "word_embed_proj_dim": 8}),
    "grouped heads": (GROUPED, PLAIN | {"num_key_value_heads": 2, "head_dim": 4}),
    "other heads in some layers": (GROUPED | {"model.layers.1.self_attn.k_proj.weight": (16, 8)},
                                   PLAIN | {"num_key_value_heads": 2, "head_dim": 4}),
    "heads of a silent width": (GROUPED, PLAIN | {"num_key_value_heads": 4}),
    "positions": (ROWS, PLAIN | {"n_positions": 18}),
    "positions behind an offset": (ROWS, PLAIN | {"max_position_embeddings": 16}),
    "positions of a tower": (ROWS | {"model.vision_tower.embeddings.position_embedding.weight": (50, 8)},
                             PLAIN | {"n_positions": 18}),
    "positions of parts": (ROWS, PLAIN | {"n_positions": 9, "vision_config": {}}),
    "patches": (SEEN, {"model_type": "new", "image_size": 16, "patch_size": [4, 4]}),
    "gate and value": (FIRST, PLAIN | {"n_inner": 16}),
    "a table beside": ({"embeddings.word_embeddings.weight": (7, 8)},
                       {"model_type": "new", "text_config": {"vocab_size": 12}, "qformer_config": {"vocab_size": 7}}),
}  # fmt: skip
LIES = {
    "positions": (ROWS, PLAIN | {"n_positions": 32}),
    "patches": (SEEN, {"model_type": "new", "image_size": 32, "patch_size": 4}),
    "MLP": (FIRST, PLAIN | {"n_inner": 64}),
    "MLP said half as wide": (FIRST | {"transformer.h.0.mlp.c_proj.weight": (8, 32)}, PLAIN | {"n_inner": 16}),
    "width beside a projection": (NARROW, {"model_type": "new", "hidden_size": 32, "word_embed_proj_dim": 8}),
    "heads of keys": (GROUPED, PLAIN | {"num_key_value_heads": 4, "head_dim": 4}),
    "width of a head": (GROUPED, PLAIN | {"num_key_value_heads": 2, "head_dim": 8}),
    "experts": (MOE, {"model_type": "glm4_moe", "n_routed_experts": 5}),
    "layers": (MOE, {"model_type": "glm4_moe", "num_hidden_layers": 1, "num_nextn_predict_layers": 1}),
    "width": (MOE, {"model_type": "glm4_moe", "hidden_size": 9}),
    "rows": (MOE, {"model_type": "glm4_moe", "vocab_size": 9}),
    "nested": ({"model.language_model.embed_tokens.weight": (10, 8)},
               {"model_type": "new", "vocab_size": 10, "text_config": {"vocab_size": 12}}),
}  # fmt: skip


@pytest.mark.parametrize("case", HONEST)
def test_honest_configurations_pass(case, tmp_path) -> None:
    tensors, config = HONEST[case]
    with open_checkpoint(made(tmp_path / "m", tensors, **config)) as model:
        check_declared(model)


def test_a_kind_that_says_its_sizes_in_a_way_of_its_own_is_said_to_be_passed_over(run_cli, tmp_path) -> None:
    models = [made(tmp_path / name, {"embed_tokens.weight": (3, 8)}, model_type="csm", vocab_size=10) for name in "ab"]
    ran = run_cli("merge", *models, "--method", "linear", "-o", tmp_path / "out")
    assert ran.exit_code == 0 and "b: a csm says its sizes in a way of its own; they are not compared" in ran.stderr


@pytest.mark.parametrize("case", LIES)
def test_families_without_a_table_are_held_to_what_their_names_say(case, tmp_path) -> None:
    tensors, config = LIES[case]
    with open_checkpoint(made(tmp_path / "m", tensors, **config)) as model, pytest.raises(ConfigMismatch):
        check_declared(model)


def test_a_model_with_an_adapter_of_more_tokens_is_held_to_its_own_rows(tmp_path) -> None:
    """What is written says the rows that it has: a model that our own merge made passes."""
    folder = tiny_models.save("llama-mha-tied", tmp_path / "m", seed=0)
    tensors = load_file(folder / "model.safetensors")
    tensors[EMBED] = torch.cat([tensors[EMBED], tensors[EMBED][:2]])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with open_checkpoint(folder) as model, pytest.raises(ConfigMismatch):
        check_declared(model)
    with open_checkpoint(says(folder, vocab_size=len(tensors[EMBED]))) as model:
        check_declared(model)


@pytest.mark.slow
def test_no_stock_class_is_refused_with_its_own_sizes(tmp_path) -> None:
    """Every class of transformers that can be made without arguments; files are sparse, as only headers are read."""
    import transformers
    from transformers.models.auto import modeling_auto as auto

    language = ("CAUSAL_LM", "MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "SPEECH_SEQ_2_SEQ")
    kinds = (*language, "IMAGE_CLASSIFICATION", "AUDIO_CLASSIFICATION", "ZERO_SHOT_IMAGE_CLASSIFICATION")
    listed = [one for kind in kinds for one in getattr(auto, f"MODEL_FOR_{kind}_MAPPING_NAMES").values()]
    names = sorted({one for value in listed for one in ([value] if isinstance(value, str) else value)})
    refused, checked = {}, 0
    for name in names:
        try:
            stock = getattr(transformers, name)
            config = stock.config_class()
            with torch.device("meta"):
                shapes = {key: tuple(one.shape) for key, one in stock(config).state_dict().items()}
        except Exception:  # it needs arguments, or another library
            continue
        folder, at, header = tmp_path / name, 0, {}
        folder.mkdir()
        for key, shape in shapes.items():
            size = 2 * int(torch.tensor(shape, dtype=torch.int64).prod())
            header[key] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        with (folder / "model.safetensors").open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + at)
        (folder / "config.json").write_text(config.to_json_string(use_diff=False))
        says(folder, architectures=[name])
        try:
            with open_checkpoint(folder, any_code=True) as model:
                check_declared(model)
            checked += 1
        except ConfigMismatch as error:
            refused[name] = error.what
        finally:
            (folder / "model.safetensors").unlink()
    # The defaults of Qwen2-VL run on no picture: they make vectors of 3584 entries for text of 8192.
    assert refused.keys() == {"Qwen2VLForConditionalGeneration"} and checked > 390, (refused, checked)
