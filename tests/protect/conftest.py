"""Protected copies of tiny checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from tiny_tokenizer import add_tokenizer, prose

KEYS = {n: Key(bytes([n]) * 32) for n in (1, 2)}


@pytest.fixture
def protect(tmp_path: Path) -> Callable[..., Path]:
    """Return ``protect(folder, protection, key=1, workers=1) -> folder``."""
    made = 0

    def run(folder: Path, protection, key: int | None = 1, workers: int = 1) -> Path:
        nonlocal made
        made += 1
        out = tmp_path / f"protected-{made}"
        text = None
        if getattr(protection, "ffn", "none") == "poly":
            add_tokenizer(folder)
            text = prose(80)
        options = verbs.OutputOptions(out, workers=workers)
        with open_checkpoint(folder) as source:
            verbs.protect(source, protection, KEYS[key] if key else None, options, text=text)
        return out

    return run


@pytest.fixture
def unprotect(tmp_path: Path) -> Callable[..., Path]:
    """Return ``unprotect(folder, key=1) -> folder``."""

    def run(folder: Path, key: int | None = 1) -> Path:
        out = tmp_path / f"{folder.name}-restored"
        with open_checkpoint(folder) as source:
            verbs.unprotect(source, KEYS[key] if key else None, verbs.OutputOptions(out))
        return out

    return run
