"""Maps that are not symmetries must fail the gate that the real ones pass, or the gate proves nothing.

Some are written by hand; the others are tables with one word changed: all that a table says of an axis is needed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file

import family_models
import tiny_models
from mergebarrier.arch import FAMILIES, Family, Kind
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.keys import Key
from mergebarrier.symmetry import act, sample

GATE = 1e-3
TOKENS = torch.arange(24)[None]


def error_after(name: str, change) -> float:
    module = tiny_models.build(name)
    with torch.no_grad():
        before = module(TOKENS).logits
        change(module)
        return tiny_models.relative_error(module(TOKENS).logits, before)


def attention(module):
    return module.model.layers[0].self_attn


def planes_interleaved(module):
    for projection in (attention(module).q_proj, attention(module).k_proj):
        rows = projection.weight.view(-1, 12, projection.weight.shape[1])
        rows[:, 0:2] *= -1  # dims 0 and 1 are a plane only in the interleaved layout


def untied_diagonal(module):
    attention(module).q_proj.weight.view(6, 12, -1)[:, 0] *= 1.7
    attention(module).k_proj.weight.view(2, 12, -1)[:, 0] /= 1.7


def general_map_under_rope(module):
    mixing = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1)))[0]
    for projection, heads in ((attention(module).q_proj, 6), (attention(module).k_proj, 2)):
        projection.weight.copy_((mixing @ projection.weight.view(heads, 12, -1)).view(projection.weight.shape))


def swapped_gate_and_up(module):
    mlp = module.model.layers[0].mlp
    mlp.gate_proj, mlp.up_proj = mlp.up_proj, mlp.gate_proj


def scaled_gate(module):
    mlp = module.model.layers[0].mlp
    mlp.gate_proj.weight *= 2
    mlp.down_proj.weight /= 2


def heads_across_groups(module):
    order = torch.tensor([3, 1, 2, 0, 4, 5])
    layer = attention(module)
    layer.q_proj.weight.copy_(layer.q_proj.weight.view(6, 12, -1)[order].view(72, -1))
    layer.o_proj.weight.copy_(layer.o_proj.weight.view(-1, 6, 12)[:, order].reshape(-1, 72))


def key_bias_under_rope(module):
    attention(module).k_proj.bias += 1.0


def stream_signs_under_layernorm(module):
    signs = torch.ones(48)
    signs[::3] = -1
    transformer = module.transformer
    transformer.wte.weight *= signs
    transformer.wpe.weight *= signs
    for block in transformer.h:
        for norm in (block.ln_1, block.ln_2):
            norm.bias *= signs
        for reader in (block.attn.c_attn, block.mlp.c_fc):
            reader.weight *= signs[:, None]
        for writer in (block.attn.c_proj, block.mlp.c_proj):
            writer.weight *= signs
            writer.bias *= signs
    transformer.ln_f.bias *= signs


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("llama-gqa-untied", planes_interleaved),
        ("llama-gqa-untied", untied_diagonal),
        ("llama-gqa-untied", general_map_under_rope),
        ("llama-gqa-untied", swapped_gate_and_up),
        ("llama-gqa-untied", scaled_gate),
        ("llama-gqa-untied", heads_across_groups),
        ("llama-mqa-biased", key_bias_under_rope),
        ("gpt2-tied", stream_signs_under_layernorm),
    ],
)
def test_what_is_not_a_symmetry_changes_the_function(name, change):
    assert error_after(name, change) > GATE


def axis(name: str, **words) -> Callable[[Family], Family]:
    """Return a change of what a table says of an axis."""
    return lambda family: replace(family, axes={**family.axes, name: replace(family.axes[name], **words)})


def lines(ending: str, old: str, new: str) -> Callable[[Family], Family]:
    """Return a change of the expressions of all tensors whose names end so."""

    def change(family: Family) -> Family:
        changed = {name: text.replace(old, new) for name, text in family.tensors.items() if name.endswith(ending)}
        assert changed and any(text != family.tensors[name] for name, text in changed.items())
        return replace(family, tensors={**family.tensors, **changed})

    return change


# (kind of the axis, model, its table, what is changed)
CONTROLS: dict[str, tuple[Kind, str, str, Callable[[Family], Family]]] = {
    "signs of neurons behind GELU": ("order", "phi", "phi", axis("n", kind="signed")),
    "scales of neurons behind a clamp": ("order", "gpt_oss", "gpt_oss", axis("n", kind="signed")),
    "experts without their router": ("order", "mixtral", "mixtral", lines("gate.weight", "e d", "_ d")),
    "heads of a layer where one bias serves the stack": (
        "order",
        "t5",
        "t5",
        axis("a", scope=("i",), stream=("encoder.{i}.attn", "heads")),
    ),
    "heads with a slope each": ("fixed", "bloom", "bloom", axis("g", kind="order")),
    "gains that take the signs of the stream": ("signed", "llama", "llama", lines("norm.weight", "!", "")),
    "latents without their norm": ("signed", "deepseek", "deepseek", lines("kv_a_layernorm.weight", "z!", "_")),
    "signs of a stream under LayerNorm": ("centred", "gpt2", "gpt2", axis("d", kind="signed")),
    "a scaled gate": ("glu", "llama", "llama", lines("gate_proj.weight", "n d", "n^ d")),
    "gate for up": ("glu", "phi3", "phi3", lines("gate_up_proj.weight", "n | n^", "n^ | n")),
    "values and outputs on one side": ("basis", "llama", "llama", lines("o_proj.weight", "w'", "w")),
    "any basis under rotation": ("planes", "llama", "llama", axis("q", kind="basis")),
    "planes of neighbours where halves are": ("planes", "llama", "llama", axis("q", pairs=True)),
    "planes of halves where neighbours are": ("planes", "cohere", "cohere", axis("q", pairs=False)),
    "planes of what is not rotated": ("planes", "gpt_neox", "gpt_neox", axis("q", rotary="")),
    "free turns in front of a norm": ("planes", "qwen3", "qwen3", axis("q", normed=False)),
    "gains that stay where planes turn": ("planes", "qwen3", "qwen3", lines("q_norm.weight", "q!", "_")),
}


@pytest.mark.parametrize(("kind", "name", "table", "change"), CONTROLS.values(), ids=CONTROLS)
def test_a_table_with_one_word_changed_breaks_the_model(kind, name, table, change, tmp_path, monkeypatch):
    folder, moved = family_models.save(name, tmp_path / "model"), tmp_path / "moved"
    family_models.save(name, moved)
    wrong = change(FAMILIES[table])
    assert kind in {one.kind for one in FAMILIES[table].axes.values()}
    monkeypatch.setitem(FAMILIES.read, table, wrong)
    with open_checkpoint(folder) as checkpoint:
        architecture = describe(checkpoint)
        streams = Key(bytes(32)).streams(checkpoint.content_digest(), "exact")
        tensors = {tensor: checkpoint.read(tensor) for tensor in architecture.verbatim}
        for circuit in architecture.circuits:
            spaces = {circuit.axis(one).space for one in circuit.instances}
            elements = sample(circuit, streams, only=spaces, profile="full", condition=3.0)
            stored = {tensor: checkpoint.read(tensor) for tensor in circuit.tensors}
            tensors |= {tensor: one.float().contiguous() for tensor, one in act(circuit, elements, stored).items()}
    save_file(tensors, moved / "model.safetensors", {"format": "pt"})
    before, after = (family_models.outputs(name, one) for one in (folder, moved))
    assert not family_models.relative_error(after, before) <= GATE


def test_every_kind_of_axis_has_a_control():
    assert {kind for kind, *_ in CONTROLS.values()} == set(get_args(Kind))


def test_a_turn_per_head_of_a_layer_wide_gain_is_no_table():
    with pytest.raises(ValueError, match="depends on 'g'"):
        axis("q", scope=("i", "g"))(FAMILIES["qwen3"])
