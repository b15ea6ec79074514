"""The story of the project on a toy: protect a model, watch a merge of it fail, realign it, watch the merge work.

A random tiny Llama plays the base; two small random steps away from it play the owner's expert and the free rider's.
A merge is good when its logits are close to those of the merge that an unprotected pair gives.  Run it with

    python examples/protect_merge_realign.py
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from mergebarrier.merge import MERGES
from mergebarrier.protect import PROTECTIONS
from mergebarrier.realign import REALIGNMENTS


def protect(model: Path, out: Path, key: Key) -> Path:
    """Write a model in other coordinates, drawn from the key."""
    with open_checkpoint(model) as source:
        verbs.protect(source, PROTECTIONS["exact"](profile="lossless"), key, verbs.OutputOptions(out))
    return out


def realign(model: Path, base: Path, out: Path) -> Path:
    """Undo that without the key, by moving the model next to the public base."""
    with open_checkpoint(model) as source, open_checkpoint(base) as anchor:
        verbs.realign(source, anchor, REALIGNMENTS["gaugefix"], verbs.OutputOptions(out))
    return out


def merge(base: Path, *experts: Path) -> dict[str, Tensor]:
    """Add half of every task vector to the base, one tensor at a time."""
    method = MERGES["task_arithmetic"](coefficient=0.5)
    with open_checkpoint(base) as anchor, open_checkpoint(experts[0]) as a, open_checkpoint(experts[1]) as b:
        return {
            name: method.merge(anchor.read(name), [a.read(name), b.read(name)], name=name) for name in anchor.tensors
        }


def tiny_llama(folder: Path, like: Mapping[str, Tensor] | None = None, step: float = 0.0, seed: int = 0) -> Path:
    """Save a random Llama, or one a small random step away from another."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.15, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    module = LlamaForCausalLM(config)
    if like is not None:
        module.load_state_dict({name: t + step * t.std() * torch.randn_like(t) for name, t in like.items()})
    module.save_pretrained(folder)
    return folder


def logits(folder: Path, merged: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return the logits of a fixed batch of tokens, (batch, pos, vocab), of a folder or of merged weights."""
    from transformers import LlamaForCausalLM

    module = LlamaForCausalLM.from_pretrained(folder, local_files_only=True)
    if merged is not None:
        module.load_state_dict(dict(merged), strict=False)  # the tied head is not on disk
    tokens = torch.arange(256).reshape(8, 32)
    with torch.no_grad():
        return module(tokens).logits


def distance(a: Tensor, b: Tensor) -> float:
    """Return the relative distance of two sets of logits: 0 for the same function, about 1.4 for unrelated ones."""
    return float((a - b).norm() / b.norm())


def story(scratch: Path) -> dict[str, float]:
    """Play it and return the distances that it prints."""
    from transformers import LlamaForCausalLM

    base = tiny_llama(scratch / "base")
    weights = LlamaForCausalLM.from_pretrained(base, local_files_only=True).state_dict()
    ours = tiny_llama(scratch / "ours", weights, step=0.05, seed=1)
    theirs = tiny_llama(scratch / "theirs", weights, step=0.05, seed=2)

    key = Key(bytes(range(32)))  # a real one comes from secrets.token_bytes(32)
    protected = protect(ours, scratch / "protected", key)
    recovered = realign(protected, base, scratch / "recovered")

    wanted = logits(base, merge(base, ours, theirs))
    return {
        "protected model, against the original": distance(logits(protected), logits(ours)),
        "merge with the protected model": distance(logits(base, merge(base, protected, theirs)), wanted),
        "merge after realignment": distance(logits(base, merge(base, recovered, theirs)), wanted),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for what, how_far in story(Path(scratch)).items():
            print(f"{what:40} {how_far:.1e}")
