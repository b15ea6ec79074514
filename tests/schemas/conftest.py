"""A few models, adapters and texts, each as small as can be."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

import tiny_models
from peft_adapters import save_adapter
from tiny_tokenizer import add_tokenizer

FAMILY = "llama-gqa-untied"


@dataclass(frozen=True)
class World:
    """Paths: a base and two fine-tunes of it, two adapters, a task, a text and a recipe."""

    base: Path
    a: Path
    b: Path
    adapters: tuple[Path, Path]
    task: Path
    text: Path
    recipe: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Write everything once."""
    root = tmp_path_factory.mktemp("world")
    base = add_tokenizer(tiny_models.save(FAMILY, root / "base"))
    a, b = (add_tokenizer(tiny_models.save_expert(FAMILY, root / name, task=i)) for i, name in ((1, "a"), (2, "b")))
    one, two = (save_adapter(root / f"lora{i}", FAMILY, i, r=2, target_modules=["q_proj"]) for i in (1, 2))
    rows = [{"prompt": f"w{i} w{i + 1}", "answer": f"w{i % 2 + 1}"} for i in range(8)]
    (root / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "text.txt").write_text(" ".join(f"w{(i * i) % 96}" for i in range(300)))
    recipe = {"merge_method": "linear", "models": [{"model": str(x), "parameters": {"weight": 1}} for x in (a, b)]}
    (root / "recipe.yaml").write_text(json.dumps(recipe))
    return World(base, a, b, (one, two), root / "task.jsonl", root / "text.txt", root / "recipe.yaml")
