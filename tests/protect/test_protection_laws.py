"""What every protection of the registry must do, in every form that its choices give it: a new one is tested by being
there."""

import dataclasses
import hashlib
import json
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from mergebarrier.checkpoint import open_checkpoint, read_manifest
from mergebarrier.circuits import describe
from mergebarrier.errors import DigestMismatch, KeyMismatch, MethodRefused, NotProtected, UsageError
from mergebarrier.evaluate import compare, load_module
from mergebarrier.keys import Key
from mergebarrier.parameters import Parameter, flag_of, parameters_of
from mergebarrier.protect import PROTECTIONS, Context, Protection
from spellings import head_alone, head_twice, respelled

GQA = "llama-gqa-untied"


def _forms() -> dict[str, Protection]:
    """Every protection as it is by default, and with every other word of every choice."""
    forms: dict[str, Protection] = {}
    for name, kind in PROTECTIONS.items():
        forms[name] = kind()
        for field, parameter in parameters_of(kind).items():
            for word in parameter.choices if parameter.kind == "choice" else ():
                if word != getattr(forms[name], field):
                    beside = re.fullmatch(r"with --(\w+) (\w+)", parameter.only)
                    forms[f"{name}-{word}"] = kind(**{field: word, **dict([beside.groups()] if beside else [])})
    return forms


def _calibrated(form: Protection) -> bool:
    """Whether a form runs the model on a text: in a minute for all laws, so not by default."""
    return getattr(form, "ffn", "none") == "poly"


def _outside(parameter: Parameter) -> list[object]:
    """Values that a declaration does not allow."""
    ends = [end for end in (parameter.low - 1, parameter.high + 1) if math.isfinite(end)]
    by_kind: dict[str, list[object]] = {
        "number": [*ends, math.nan, "much"],
        "whole": [*map(int, ends), 0.5, True],
        "flag": ["yes"],
        "choice": ["no such word"],
        "subset": [(), ("no such word",)],
    }
    return by_kind[parameter.kind]


FORMS = _forms()
WRONG = [
    pytest.param(kind, field, value, id=f"{name}-{field}-{value}")
    for name, kind in PROTECTIONS.items()
    for field, parameter in parameters_of(kind).items()
    for value in _outside(parameter)
]
every_form = pytest.mark.parametrize(
    "form",
    [pytest.param(form, id=name, marks=pytest.mark.slow if _calibrated(form) else []) for name, form in FORMS.items()],
)
#: Every form on every model; what only a word of a choice changes is tried on two of them by default.
every_pair = pytest.mark.parametrize(
    ("form", "config"),
    [
        pytest.param(
            form,
            config,
            id=f"{name}-{config}",
            marks=pytest.mark.slow
            if _calibrated(form) or (name not in PROTECTIONS and config not in (GQA, "gpt2-tied"))
            else [],
        )
        for name, form in FORMS.items()
        for config in tiny_models.CONFIGS
    ],
)


@pytest.fixture
def attempt(protect, tmp_path):
    """Return ``attempt(folder, form, key=1, workers=1) -> folder``, or None where the refusal is as it should be.

    A default form takes a Llama of float32, so no law is empty.
    """

    def run(folder: Path, form: Protection, key: int = 1, workers: int = 1) -> Path | None:
        before = set(tmp_path.iterdir())
        try:
            return protect(folder, form, key=key if form.keyed else None, workers=workers)
        except MethodRefused as refused:
            assert refused.where and refused.remedy and set(tmp_path.iterdir()) == before
            return None

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", PROTECTIONS.values(), ids=PROTECTIONS)
def test_its_default_form_takes_a_llama(kind, tmp_path, attempt):
    assert attempt(tiny_models.save(GQA, tmp_path / "model"), kind()) is not None


@every_pair
def test_the_function_is_kept_or_the_model_refused_by_name(form, config, tmp_path, attempt):
    folder = tiny_models.save(config, tmp_path / "model", dtype=torch.float64)
    if out := attempt(folder, form):
        assert digest(out) != digest(folder)
        if _calibrated(form):
            with open_checkpoint(out) as protected, open_checkpoint(folder) as original:
                modules = [load_module(side, "float32") for side in (original, protected)]
                assert compare(*modules, torch.arange(4, 90)).kl_nats <= 1e-3
            return
        exact = [tiny_models.logits(side, exact_norms=True) for side in (out, folder)]
        assert tiny_models.relative_error(*exact) <= 1e-9
        # The stock RMSNorm computes in float32 whatever the dtype: that is the floor of the class as shipped.
        assert tiny_models.relative_error(tiny_models.logits(out), tiny_models.logits(folder)) <= 5e-6


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(form, id=name, marks=() if name in PROTECTIONS else pytest.mark.slow)
        for name, form in FORMS.items()
    ],
)
def test_a_head_in_the_place_of_a_tied_embedding_is_the_embedding(form, tmp_path, attempt, unprotect):
    plain = tiny_models.save("llama-mha-tied", tmp_path / "plain", dtype=torch.float32)
    alone = respelled(plain, tmp_path / "alone", head_alone("lm_head.weight"))
    protected = attempt(alone, form)
    if protected is None or _calibrated(form):
        assert attempt(plain, form) is None or _calibrated(form), "the other spelling is refused too"
        return
    assert weights(protected).keys() == weights(alone).keys(), "named as it was"
    assert tiny_models.relative_error(tiny_models.logits(protected), tiny_models.logits(plain)) <= 5e-6
    if read_manifest(protected)["content"]["parameters"]["reversibility"] != "none":
        for name, tensor in weights(unprotect(protected, 1 if form.keyed else None)).items():
            assert torch.allclose(tensor, weights(alone)[name], atol=1e-4), name


def test_a_stream_is_not_rotated_where_a_stored_head_is_tied(tmp_path, protect):
    plain = tiny_models.save("llama-mha-tied", tmp_path / "plain")
    twice = respelled(plain, tmp_path / "twice", head_twice("lm_head.weight"))
    with pytest.raises(MethodRefused, match="its head is the embedding"):
        protect(twice, PROTECTIONS["exact"](residual="rotate", profile="full"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@every_pair
def test_it_comes_back_as_its_manifest_promises(form, config, dtype, tmp_path, attempt, unprotect):
    folder = tiny_models.save(config, tmp_path / "model", dtype=dtype)
    if out := attempt(folder, form):
        content = json.loads((out / "mergebarrier.json").read_text())["content"]
        promised = content["parameters"]["reversibility"]
        assert promised in form.reversibility and (promised == "exact") == (content["roundtrip_bound"] == 0)
        if promised == "none":
            with pytest.raises(MethodRefused, match="cannot be undone"):
                unprotect(out, key=1 if form.keyed else None)
            return
        back = unprotect(out, key=1 if form.keyed else None)
        if promised == "exact":
            with open_checkpoint(folder) as original, open_checkpoint(back) as restored:
                assert original.digests() == restored.digests()
        else:
            before, after = weights(folder), weights(back)
            errors = [float((after[n].double() - t.double()).norm() / t.double().norm()) for n, t in before.items()]
            assert max(errors) <= content["roundtrip_bound"]


@every_form
def test_one_key_one_file_whatever_the_workers_and_two_keys_two_files(form, tmp_path, attempt):
    folder = tiny_models.save("llama-mqa-biased", tmp_path / "model", dtype=torch.bfloat16)
    if attempt(folder, form):
        digests = [digest(attempt(folder, form, workers=workers)) for workers in (1, 2, 3)]
        assert len(set(digests)) == 1
        assert (digest(attempt(folder, form, key=2)) != digests[0]) == form.keyed


@every_form
def test_it_draws_from_streams_of_its_own(form, tmp_path, attempt, monkeypatch: pytest.MonkeyPatch):
    """Under another name it draws otherwise, and no circuit reads one stream twice; without a key it asks for none."""
    folder = tiny_models.save(GQA, tmp_path / "model")
    asked: list[tuple[str, str]] = []

    def streams(circuit: str, purpose: str):
        asked.append((circuit, purpose))
        return Key(bytes([1]) * 32).streams("ab" * 32, form.name)(circuit, purpose)

    with open_checkpoint(folder) as model:
        context = Context(checkpoint=model, architecture=describe(model), streams=streams)
        if _calibrated(form):
            passes = [{"input_ids": torch.arange(n % 60, n % 60 + 32)[None]} for n in range(80)]
            module = load_module(model, "float32")
            context = dataclasses.replace(context, module=lambda: module, data=lambda count: passes[:count])
        try:
            prepared = form.prepare(context)
        except MethodRefused:
            assert attempt(folder, form) is None
            return
        drawn = {}
        for circuit in context.architecture.circuits:
            asked.clear()
            moved = dict(prepared.apply(circuit, {name: model.read(name) for name in circuit.tensors}))
            assert len(set(asked)) == len(asked)
            drawn[circuit.name] = sorted(asked)
            if prepared.invert is not None:
                asked.clear()
                assert dict(prepared.invert(circuit, moved)).keys() == set(circuit.tensors)
                assert len(set(asked)) == len(asked) and set(asked) <= set(drawn[circuit.name])
    assert any(drawn.values()) == form.keyed
    if form.keyed:
        other = type("Other", (type(form),), {"name": "other"})
        monkeypatch.setitem(PROTECTIONS, "other", other)
        values = {field.name: getattr(form, field.name) for field in dataclasses.fields(form)}
        assert digest(attempt(folder, other(**values))) != digest(attempt(folder, form))


@every_form
def test_undoing_needs_the_right_key_and_untouched_files(form, tmp_path, attempt, unprotect):
    folder = tiny_models.save("qwen2", tmp_path / "model")
    if protected := attempt(folder, form):
        for key in (2, None) if form.keyed else ():
            with pytest.raises(KeyMismatch, match=Key(bytes([1]) * 32).id):
                unprotect(protected, key=key)
        with pytest.raises(NotProtected):
            unprotect(folder)
        path = protected / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(DigestMismatch):
            unprotect(protected, key=1 if form.keyed else None)
        assert not list(tmp_path.glob("*restored*"))


@pytest.mark.parametrize(("kind", "field", "value"), WRONG)
def test_a_value_outside_its_range_is_refused_by_the_name_of_the_option(kind, field, value):
    with pytest.raises(UsageError) as refused:
        kind(**{field: value})
    assert refused.value.where == flag_of(field, parameters_of(kind)[field]) and refused.value.remedy


def test_the_registry_names_each_protection_as_it_names_itself() -> None:
    assert all(kind.name == name and kind.limit.endswith(".") for name, kind in PROTECTIONS.items())
    assert all(kind.reversibility for kind in PROTECTIONS.values())


@pytest.mark.parametrize(
    "kind", [kind for kind in FORMS.values() if kind.keyed and not _calibrated(kind)], ids=lambda kind: kind.name
)
def test_several_models_under_one_key_share_no_transform(kind, tmp_path, attempt):
    folders = [tiny_models.save_expert(GQA, tmp_path / f"expert-{task}", task=task) for task in (1, 2)]
    originals = [weights(folder) for folder in folders]
    if None in (outs := [attempt(folder, kind) for folder in folders]):
        return
    hidden = [weights(out) for out in outs if out is not None]
    moved = [name for name, tensor in originals[0].items()
             if hidden[0][name].shape != tensor.shape
             or float((hidden[0][name] - tensor).norm()) > 0.5 * float(tensor.norm())]  # fmt: skip
    assert moved, "a key moves something far"
    for name in moved:
        apart, size = (float(tensor.norm()) for tensor in (hidden[0][name] - hidden[1][name], hidden[0][name]))
        assert apart > 0.5 * size, f"{name}: one transform would leave the two as near as they were"
