"""Sound model folders, in one file and in three."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from model_folders import small_tensors, thirds, write_folder

SIDE_FILES = {"tokenizer.json": "{}", "README.md": "# a model\n", "modeling_x.py": "raise SystemExit", "a.bin": "x"}


@pytest.fixture(params=["single", "sharded"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    tensors = small_tensors()
    shards = None if request.param == "single" else thirds(tensors)
    yield write_folder(tmp_path / "model", tensors, shards=shards, side_files=SIDE_FILES)
