"""Scores that others compare models with, on Llamas: 1 for the same model, and none of them has a null.

configuration  share of nine fields of config.json that agree; reads no weight
HuRef          mean cosine of E W_q^T W_k E^T, E W_v^T W_o^T E^T and E W_up^T W_down^T E^T of the last two layers
               (arXiv 2312.04828)
REEF           unbiased CKA of the hidden states behind the middle layer on random tokens (arXiv 2410.14273)
weights        unbiased CKA of the rows of W_q and W_k of all layers, in the manner of AWM (arXiv 2510.06738)
"""

from collections.abc import Callable

import torch

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.evaluate import load_module

_FIELDS = (
    "model_type hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads vocab_size "
    "hidden_act tie_word_embeddings"
).split()
_ROWS, _TOKENS = 256, (8, 32)


def configuration(first: Checkpoint, second: Checkpoint) -> float:
    """Return the share of fields that agree."""
    return sum(first.config.get(field) == second.config.get(field) for field in _FIELDS) / len(_FIELDS)


def huref(first: Checkpoint, second: Checkpoint) -> float:
    """Return the mean cosine of the invariant terms."""
    terms = zip(_terms(first), _terms(second), strict=True)
    cosines = [torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0) for a, b in terms]
    return float(torch.stack(cosines).mean())


def _terms(model: Checkpoint) -> list[torch.Tensor]:
    rows = model.read("model.embed_tokens.weight")[:_ROWS].double()
    layers, found = model.config["num_hidden_layers"], []
    heads, groups = model.config["num_attention_heads"], model.config["num_key_value_heads"]
    for layer in range(max(0, layers - 2), layers):
        at = f"model.layers.{layer}."
        gains = [model.read(f"{at}{norm}_layernorm.weight").double() for norm in ("input", "post_attention")]
        q, k, v = (model.read(f"{at}self_attn.{name}_proj.weight").double() * gains[0] for name in "qkv")
        k, v = (side.unflatten(0, (groups, -1)).repeat_interleave(heads // groups, 0).flatten(0, 1) for side in (k, v))
        o, down = (model.read(f"{at}{name}.weight").double() for name in ("self_attn.o_proj", "mlp.down_proj"))
        up = model.read(f"{at}mlp.up_proj.weight").double() * gains[1]
        found += [rows @ one @ rows.T for one in (q.T @ k, v.T @ o.T, up.T @ down.T)]
    return found


def reef(first: Checkpoint, second: Checkpoint) -> float:
    """Return the unbiased CKA of hidden states."""
    tokens = torch.randint(0, first.config["vocab_size"], _TOKENS, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        states = [
            load_module(model)(input_ids=tokens, output_hidden_states=True).hidden_states for model in (first, second)
        ]
    sides = [side[len(side) // 2].flatten(0, 1).double() for side in states]
    return unbiased_cka(*sides)


def weights(first: Checkpoint, second: Checkpoint) -> float:
    """Return the mean unbiased CKA of rows of queries and keys."""
    found = []
    for layer in range(min(model.config["num_hidden_layers"] for model in (first, second))):
        for name in ("q_proj", "k_proj"):
            sides = (model.read(f"model.layers.{layer}.self_attn.{name}.weight").double() for model in (first, second))
            found.append(unbiased_cka(*sides))
    return sum(found) / len(found)


def unbiased_cka(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return CKA with unbiased HSIC of rows that correspond."""
    grams = [side @ side.T for side in (first, second)]
    for gram in grams:
        gram.fill_diagonal_(0.0)
    cross = _hsic(grams[0], grams[1])
    size = (_hsic(grams[0], grams[0]) * _hsic(grams[1], grams[1])) ** 0.5
    return cross / size if size else 0.0


def _hsic(one: torch.Tensor, other: torch.Tensor) -> float:
    n = len(one)
    sums = float(one.sum() * other.sum()) / ((n - 1) * (n - 2))
    means = 2.0 * float(one.sum(0) @ other.sum(0)) / (n - 2)
    return (float((one * other).sum()) + sums - means) / (n * (n - 3))


SCORES: dict[str, Callable[[Checkpoint, Checkpoint], float]] = {
    "configuration": configuration,
    "HuRef": huref,
    "REEF": reef,
    "weights": weights,
}
