"""A tiny base and two experts with words, made once."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tiny_models import save, save_expert
from tiny_tokenizer import add_tokenizer, prose


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> SimpleNamespace:
    place: Path = tmp_path_factory.mktemp("world")
    kind = "llama-mha-tied"
    experts = {name: save_expert(kind, place / name, task=task) for name, task in (("original", 1), ("partner", 2))}
    folders = {"base": save(kind, place / "base"), **experts}
    (place / "prose.txt").write_text(prose(2))
    return SimpleNamespace(**{name: add_tokenizer(path) for name, path in folders.items()}, text=place / "prose.txt")
