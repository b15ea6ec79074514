"""Maps that are not symmetries must fail the gate that the real ones pass, or the gate proves nothing."""

import pytest
import torch

import tiny_models

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
