"""PaRaMS and MergeLock: what their papers say holds where it can, is refused with a figure where not, and is undone."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import MethodRefused
from mergebarrier.keys import Key
from mergebarrier.protect import MergeLock, Params, Protection
from mergebarrier.realign import Aga, GaugeFix

GQA = "llama-gqa-untied"
LOCKS = [Params(), Params(kind="gl"), Params(order="base"), MergeLock()]
LITERAL = [Params(form="literal"), Params(form="literal", kind="sym"), MergeLock(form="literal", preset="paper")]


@pytest.fixture
def lock(tmp_path: Path) -> Callable[..., Path]:
    """Return ``lock(name, protection) -> folder``: of an expert, its base beside it."""

    def run(name: str, protection: Protection) -> Path:
        tiny_models.save(name, tmp_path / "base")
        out = tmp_path / "out"
        with (
            open_checkpoint(tiny_models.save_expert(name, tmp_path / "expert")) as source,
            open_checkpoint(tmp_path / "base") as base,
        ):
            verbs.protect(source, protection, Key(bytes([1]) * 32), verbs.OutputOptions(out), base=base)
        return out

    return run


def _distance(one: Path, other: Path, part: str = "") -> float:
    first, second = (load_file(side / "model.safetensors") for side in (one, other))
    return float(sum((first[n] - second[n]).double().square().sum() for n in first if part in n)) ** 0.5


@pytest.mark.parametrize("protection", LITERAL, ids=repr)
def test_the_published_form_is_refused_under_rotary_positions_with_its_error(protection, tmp_path, protect):
    folder = tiny_models.save(GQA, tmp_path / "model")
    with pytest.raises(MethodRefused, match="does not commute") as refused:
        protect(folder, protection)
    measured = re.search(r"off by ([\d.e+-]+)", str(refused.value))
    assert measured is not None and float(measured[1]) > 0.05


def test_without_rotary_positions_the_published_form_holds(tmp_path, protect):
    folder = tiny_models.save("gpt2-tied", tmp_path / "model", dtype=torch.float64)
    for protection in LITERAL:
        out = protect(folder, protection)
        assert tiny_models.relative_error(tiny_models.logits(out), tiny_models.logits(folder)) < 1e-9


@pytest.mark.parametrize("protection", LOCKS, ids=repr)
@pytest.mark.parametrize("name", [GQA, "gpt2-tied"])
def test_gaugefix_undoes_it_and_keeps_the_function_which_the_published_attack_does_not(
    protection, name, tmp_path, lock
):
    out, expert = lock(name, protection), tmp_path / "expert"
    task_vector = _distance(expert, tmp_path / "base")
    errors = []
    for number, attack in enumerate((GaugeFix(), Aga())):
        recovered = tmp_path / f"recovered-{number}"
        with open_checkpoint(out) as source, open_checkpoint(tmp_path / "base") as base:
            verbs.realign(source, base, attack, verbs.OutputOptions(recovered))
        assert _distance(recovered, expert) < 0.7 * task_vector < 0.1 * _distance(out, expert)
        errors.append(tiny_models.relative_error(tiny_models.logits(recovered), tiny_models.logits(expert)))
    assert errors[0] < 1e-5 < errors[1]


def test_the_order_taken_against_the_base_lies_farther_than_a_drawn_one(tmp_path, lock, protect):
    farthest, drawn = lock(GQA, Params()), protect(tmp_path / "expert", Params())
    base = tmp_path / "base"
    assert _distance(farthest, base, "mlp") > 1.01 * _distance(drawn, base, "mlp")
    with open_checkpoint(farthest) as opened, pytest.raises(MethodRefused, match="cannot be undone"):
        verbs.unprotect(opened, Key(bytes([1]) * 32), verbs.OutputOptions(tmp_path / "back"))
    with pytest.raises(MethodRefused, match="against the base") as refused:
        protect(tmp_path / "expert", Params(order="base"))
    assert refused.value.where == "--base"


def test_a_wide_layer_is_put_in_order_block_by_block_and_stays_the_same_function(tmp_path, lock, protect, monkeypatch):
    kind, arguments = tiny_models.CONFIGS[GQA]
    monkeypatch.setitem(tiny_models.CONFIGS, "wide", (kind, arguments | {"intermediate_size": 1030}))
    farthest, drawn = lock("wide", Params()), protect(tmp_path / "expert", Params())
    base, expert = tmp_path / "base", tmp_path / "expert"
    assert _distance(farthest, base, "mlp") > 1.01 * _distance(drawn, base, "mlp")
    assert tiny_models.relative_error(tiny_models.logits(farthest), tiny_models.logits(expert)) < 1e-5


def test_dropout_takes_entries_of_the_task_vector_away(tmp_path, lock):
    out = lock(GQA, Params(dropout=0.5))
    with open_checkpoint(out) as opened, open_checkpoint(tmp_path / "base") as base:
        verbs.realign(opened, base, GaugeFix(), verbs.OutputOptions(tmp_path / "recovered"))
    name = "model.layers.0.mlp.gate_proj.weight"
    thinned, then, was = (
        load_file(tmp_path / side / "model.safetensors")[name].double() for side in ("recovered", "base", "expert")
    )
    dropped = (thinned - then).abs() < 0.1 * (was - then).abs()
    assert 0.4 < float(dropped.double().mean()) < 0.6
    torch.testing.assert_close((thinned - then)[~dropped], 2 * (was - then)[~dropped], rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("kind", [Params, MergeLock])
def test_the_published_range_is_refused_where_sixteen_bits_would_not_hold_it(kind, tmp_path, protect):
    folder = tiny_models.save(GQA, tmp_path / "model", dtype=torch.bfloat16)
    with pytest.raises(MethodRefused, match="condition"):
        protect(folder, kind(preset="paper"))
