"""Tiny random models with a tokenizer of their own: a whole evaluation runs in a blink and without a download."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny_models
from mergebarrier.checkpoint import Checkpoint, open_checkpoint
from tiny_tokenizer import add_tokenizer


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One folder per tiny configuration."""
    parent = tmp_path_factory.mktemp("tiny")
    return {name: add_tokenizer(tiny_models.save(name, parent / name)) for name in tiny_models.CONFIGS}


@pytest.fixture
def checkpoint(folders) -> Iterator[Checkpoint]:
    """A tiny Llama, opened."""
    with open_checkpoint(folders["llama-mha-tied"]) as opened:
        yield opened
