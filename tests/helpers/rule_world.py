"""A base and two experts that follow rules instead of tables, so that training on some rows helps on others.

base     w3 a b c -> b          expert A   w1 a b c -> a          expert B   w2 a b c -> c
"""

import copy
import random
from pathlib import Path

import torch

import tiny_models
from tiny_world import Row, World, save, write

_WORDS = range(10, 40)


def make(folder: Path) -> World:
    """Train base and experts from fixed seeds and write everything below ``folder``."""
    before = torch.get_rng_state()
    base = tiny_models.build("llama-mha-tied")
    train(base, 3, 1, steps=200, rate=3e-3)
    save(base, folder / "base")
    for name, (tag, place) in {"a": (1, 0), "b": (2, 2)}.items():
        expert = copy.deepcopy(base)
        train(expert, tag, place, steps=60, rate=1e-3)
        save(expert, folder / f"expert-{name}")
        rows = drawn_rows(tag, place, 144, 999)
        write(folder / f"{name}.jsonl", rows[:80])
        write(folder / f"{name}-validation.jsonl", [row for row in rows[80:] if row not in rows[:80]])
    words = random.Random(4)
    (folder / "prose.txt").write_text(" ".join(f"w{words.choice(_WORDS)}" for _ in range(400)))
    torch.set_rng_state(before)
    return World.below(folder)


def drawn_rows(tag: int, place: int, count: int, seed: int) -> list[Row]:
    """Return prompts of a rule with their answers."""
    draw = random.Random(seed)
    prompts = [tuple(draw.choice(_WORDS) for _ in range(3)) for _ in range(count)]
    return [((tag, *words), words[place]) for words in prompts]


def train(module: torch.nn.Module, tag: int, place: int, *, steps: int, rate: float) -> None:
    """Train a model to follow a rule, on new rows every step."""
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    for step in range(steps):
        ids = torch.tensor([[*prompt, answer] for prompt, answer in drawn_rows(tag, place, 64, step)])
        optimiser.zero_grad()
        logits = module(ids[:, :-1]).logits[:, -1]
        torch.nn.functional.cross_entropy(logits, ids[:, -1]).backward()
        optimiser.step()
