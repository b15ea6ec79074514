"""Every table against the stock class of its architecture: kept function, undone protections, streams of its own."""

import json
import re
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest
import torch

import family_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import check_declared, describe, entry_at, instances_of
from mergebarrier.errors import ArchError, ConfigMismatch, MissingTensor
from mergebarrier.keys import Key
from mergebarrier.realign.gaugefix import GaugeFix
from mergebarrier.symmetry import PROFILES, act_each, sample

# Bodies whose other classes are built from the same configuration.
_BODIES = (
    "llama",
    "qwen3_moe",
    "deepseek",
    "gemma2",
    "olmo2",
    "bloom",
    "opt",
    "mpt",
    "roberta",
    "modernbert",
)
#: At least these must be described, not refused.
_CHECKED = ("LlamaModel", "LlamaForSequenceClassification", "OPTForSequenceClassification", "RobertaModel")
every_model = pytest.mark.parametrize("name", family_models.MODELS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Name -> folder of a tiny checkpoint, written when first asked for."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = family_models.save(name, tmp_path_factory.mktemp("families") / name)
        return made[name]

    return folder


def protect(folder: Path, out: Path, profile: str) -> Path:
    """Write a model with every element of every axis drawn, in float32."""
    from safetensors.torch import save_file

    with open_checkpoint(folder) as checkpoint:
        architecture = describe(checkpoint)
        streams = Key(bytes([1]) * 32).streams(checkpoint.content_digest(), "exact")
        tensors = {name: checkpoint.read(name) for name in architecture.verbatim}
        for circuit in architecture.circuits:
            spaces = {circuit.axis(one).space for one in circuit.instances}
            elements = sample(circuit, streams, only=spaces, profile=profile, condition=3.0)
            stored = {name: checkpoint.read(name) for name in circuit.tensors}
            tensors |= {name: moved.float() for name, moved in act_each(circuit, elements, stored)}
    out.mkdir()
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, out / "model.safetensors", {"format": "pt"}
    )
    (out / "config.json").write_bytes((folder / "config.json").read_bytes())
    return out


@pytest.mark.parametrize("profile", PROFILES)
@every_model
def test_the_stock_class_computes_the_same_from_moved_tensors(name, profile, folders, tmp_path):
    moved = protect(folders(name), tmp_path / "moved", profile)
    before, after = (family_models.outputs(name, folder) for folder in (folders(name), moved))
    assert family_models.relative_error(after, before) < 2e-5
    with open_checkpoint(folders(name)) as plain, open_checkpoint(moved) as other:
        kept = [tensor for tensor in plain.tensors if torch.equal(plain.read(tensor), other.read(tensor))]
        assert len(kept) < len(plain.tensors) * 2 / 3


@every_model
def test_realigning_to_the_base_undoes_every_axis(name, folders, tmp_path):
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    for file in folders(name).iterdir():
        (tuned / file.name).write_bytes(file.read_bytes())
    family_models.nudge(tuned)
    moved = protect(tuned, tmp_path / "moved", "full")
    with open_checkpoint(folders(name)) as base, open_checkpoint(tuned) as expert, open_checkpoint(moved) as model:
        architecture = describe(model)
        gauge = GaugeFix().fit(architecture, model, base)
        for circuit in architecture.circuits:
            sides = [{tensor: side.read(tensor) for tensor in circuit.tensors} for side in (model, base)]
            for tensor, found in family_models.joined(gauge.apply(circuit, *sides)).items():
                wanted = expert.read(tensor).double()
                assert float((found.double() - wanted).norm()) <= 0.02 * float(wanted.norm()), tensor


@every_model
def test_every_element_draws_from_a_stream_of_its_own_and_every_circuit_has_a_name(name, folders):
    with open_checkpoint(folders(name)) as checkpoint:
        architecture = describe(checkpoint)
    names = [circuit.name for circuit in architecture.circuits]
    assert len(names) == len(set(names))
    drawn: dict[tuple[str, str], set[str]] = {}
    for circuit in architecture.circuits:
        for member in circuit.members:
            for axis, _ in instances_of(circuit.family, member):
                circuit_label, purpose = circuit.family.axes[axis].stream
                drawn.setdefault(
                    (circuit_label.format_map({**dict.fromkeys(circuit.family.axes, "*"), **member.indices}), purpose),
                    set(),
                ).add(axis)
    for place, axes in drawn.items():
        # Orders inside an order follow it on one stream.
        outermost = [axis for axis in axes if not axes & set(architecture.axis(axis).scope)]
        assert len(outermost) == 1, (place, axes)


@pytest.mark.parametrize("suffix", ["ForSequenceClassification", "Model"])
@pytest.mark.parametrize("name", _BODIES)
def test_a_classifier_or_a_body_alone_is_kept_or_refused(name, suffix, tmp_path, monkeypatch):
    model = family_models.MODELS[name]
    variant = f"{model.stock.removesuffix('ForCausalLM').removesuffix('ForMaskedLM')}{suffix}"
    monkeypatch.setitem(family_models.MODELS, name, replace(model, stock=variant))
    folder = family_models.save(name, tmp_path / "model")
    try:
        moved = protect(folder, tmp_path / "moved", "full")
    except ArchError:
        assert variant not in _CHECKED
        return
    before, after = (family_models.outputs(name, one) for one in (folder, moved))
    assert family_models.relative_error(after, before) < 2e-5


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "olmo2", "helium", "olmoe"])
def test_biases_that_the_configuration_asks_for_and_the_folder_lacks_are_refused(name, tmp_path):
    folder = family_models.save(name, tmp_path / name)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_bias": True}))
    with open_checkpoint(folder) as checkpoint, pytest.raises(MissingTensor, match=r"_proj\.bias"):
        describe(checkpoint)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        *((named, "names no architecture") for named in (None, [], "LlamaForCausalLM", [7], [{"a": 1}], {})),
        (["LLaMAForCausalLM"], "write LlamaForCausalLM"),
        (["LlamaForWhatever"], "LlamaForWhatever is not in the table"),
    ],
)
def test_a_class_that_is_missing_or_misspelled_is_refused_with_the_way_out(named, says, folders, tmp_path):
    config = json.loads((folders("llama") / "config.json").read_text()) | {"architectures": named}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").hardlink_to(folders("llama") / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint, pytest.raises(ArchError, match=says):
        describe(checkpoint)


def _inner(table: object, key: str) -> object:
    return table.get(key) if isinstance(table, dict) else None


#: What no tensor shows: into how many heads a width is cut, and widths that nothing here has.
_UNSEEN = re.compile(
    r"(.+\.)?(n_heads?|num_heads|((en|de)coder|num)_attention_heads)|mamba expand|qwen\d_moe intermediate_size"
    r"|opt hidden_size"
)
_QUICK = ("bart", "clip", "deepseek", "gpt2", "llama", "mixtral", "t5")


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one in _QUICK else pytest.mark.slow) for one in family_models.MODELS]
)
def test_a_size_that_the_files_do_not_have_is_refused(name, folders, tmp_path):
    """A configuration may say another vocabulary, width, number of layers, heads or experts than the tensors have."""
    config = json.loads((folders(name) / "config.json").read_text())
    with open_checkpoint(folders(name)) as checkpoint:
        check_declared(checkpoint)
        table = describe(checkpoint).table
    texts = [*(axis.size for axis in table.axes.values()), *table.layers.values(), table.dims["vocab"]]
    words = {word for text in texts for word in re.findall(r"[A-Za-z_][\w.]*", text)} - {"or"}
    said = {word: value for word in words if type(value := reduce(_inner, word.split("."), config)) is int}
    missed = set()
    for word, value in said.items():
        folder = tmp_path / word
        folder.mkdir()
        (folder / "model.safetensors").hardlink_to(folders(name) / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config | entry_at(config, word, 2 * value)))
        with open_checkpoint(folder) as checkpoint:
            try:
                check_declared(checkpoint)
            except ConfigMismatch as error:
                assert word in error.what, error.what
            else:
                missed.add(word)
    assert all(_UNSEEN.fullmatch(word) or _UNSEEN.fullmatch(f"{name} {word}") for word in missed), missed
    assert len(said) - len(missed) >= 3
