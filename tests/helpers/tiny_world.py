"""A base, two experts that merge well, and their tasks, made in seconds: a whole audit on two-layer models.

Each task is a table of random words to remember (task A begins with w1, task B with w2), so an expert's skill is exact
and is lost as soon as its weights are stirred.
"""

import copy
import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch

import tiny_models

Row = tuple[tuple[int, ...], int]


@dataclass(frozen=True)
class World:
    """Folders and task files."""

    base: Path
    original: Path
    partner: Path
    task: Path
    partner_task: Path
    validation: Path
    partner_validation: Path
    text: Path

    @classmethod
    def below(cls, folder: Path) -> "World":
        """Return the paths that a world has below its folder."""
        return cls(
            folder / "base",
            folder / "expert-a",
            folder / "expert-b",
            folder / "a.jsonl",
            folder / "b.jsonl",
            folder / "a-validation.jsonl",
            folder / "b-validation.jsonl",
            folder / "prose.txt",
        )


def make(folder: Path) -> World:
    """Train base and experts from fixed seeds and write everything below ``folder``."""
    before = torch.get_rng_state()
    base = tiny_models.build("llama-mha-tied")
    train(base, drawn_rows(3, 200, 3), steps=150, rate=3e-3)
    tasks = {"a": drawn_rows(1, 24, 1), "b": drawn_rows(2, 24, 2)}
    save(base, folder / "base")
    for name, rows in tasks.items():
        expert = copy.deepcopy(base)
        train(expert, rows, steps=60, rate=1e-3)
        save(expert, folder / f"expert-{name}")
        write(folder / f"{name}.jsonl", rows[:12])
        write(folder / f"{name}-validation.jsonl", rows[12:])
    words = random.Random(4)
    (folder / "prose.txt").write_text(" ".join(f"w{words.randrange(96)}" for _ in range(400)))
    torch.set_rng_state(before)
    return World.below(folder)


def drawn_rows(tag: int, count: int, seed: int) -> list[Row]:
    """Return random words to remember, after one that names the task."""
    draw = random.Random(seed)
    return [((tag, *(draw.randrange(10, 90) for _ in range(3))), draw.randrange(10, 90)) for _ in range(count)]


def train(module: torch.nn.Module, rows: list[Row], *, steps: int, rate: float) -> None:
    """Train whatever requires a gradient."""
    ids = torch.tensor([[*prompt, answer] for prompt, answer in rows])
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        logits = module(ids[:, :-1]).logits[:, -1]
        torch.nn.functional.cross_entropy(logits, ids[:, -1]).backward()
        optimiser.step()


def save(module: torch.nn.Module, folder: Path) -> None:
    """Write a model with a tokenizer of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    module.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(96)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))


def write(path: Path, rows: list[Row]) -> None:
    """Write a task file."""
    lines = [{"prompt": " ".join(f"w{word}" for word in prompt), "answer": f" w{answer}"} for prompt, answer in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
