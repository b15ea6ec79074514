"""Every JSON file that a stranger hands over: what two readers would read differently is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mergebarrier.checkpoint import open_checkpoint, read_manifest
from mergebarrier.checkpoint.adapter.config import read_adapter_config
from mergebarrier.errors import MergebarrierError
from mergebarrier.evaluate import tokenizer_of
from mergebarrier.merge.vocabulary import vocabulary_of
from model_folders import small_tensors, write_folder

#: What stands in the place of a number; "" is the same key twice.
NUMBERS = ("1e999", "-1e400", "NaN", "Infinity", "-Infinity", "9" * 500, "", '"\\ud800"', "[" * 5000 + "]" * 5000)


def _vocabulary(folder: Path) -> None:
    vocabulary_of(lambda name: (folder / name).read_bytes() if (folder / name).exists() else None, folder, {})


READERS: dict[str, Callable[[Path], object]] = {
    "config.json": open_checkpoint,
    "generation_config.json": open_checkpoint,
    "tokenizer_config.json": open_checkpoint,
    "model.safetensors.index.json": open_checkpoint,
    "adapter_config.json": read_adapter_config,
    "mergebarrier.json": read_manifest,
    "tokenizer.json": lambda folder: tokenizer_of((folder / "tokenizer.json").read_bytes(), "tokenizer.json"),
    "special_tokens_map.json": _vocabulary,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("strangers") / "model", small_tensors())


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:12] or "twice")
@pytest.mark.parametrize("name", READERS)
def test_it_is_refused_in_one_line(name: str, number: str, folder: Path) -> None:
    kept = (folder / name).read_bytes() if (folder / name).exists() else None
    known = json.dumps({"a": 1, **json.loads(kept or "{}")})[1:]
    tokenizer = json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}})
    (folder / "tokenizer.json").write_text(tokenizer)
    try:
        (folder / name).write_text(
            f'{{"odd": {number or 1}, {"" if number else chr(34) + "odd" + chr(34) + ": 2, "}{known}'
        )
        with pytest.raises(MergebarrierError) as refused:
            READERS[name](folder)
        said = str(refused.value)
        assert "\n" not in said and len(said) < 600 and any(word in said for word in WORDS), said
    finally:
        (folder / "tokenizer.json").unlink()
        if kept is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_bytes(kept)


WORDS = ("beyond every float", "is not JSON", "digits", "twice", "surrogate", "deeper", "not JSON")
