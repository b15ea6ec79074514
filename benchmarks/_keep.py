"""What a long bench keeps between runs: finished rows, one JSON line each, and tensors that took long to make."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor


def say(text: str) -> None:
    """Print a line of progress with its time."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def asked(known: Iterable[str], flag: str = "--print") -> list[str]:
    """Return which of ``known`` the command names, all where it names none; another word than these ends the bench."""
    names, words = list(known), [word for word in sys.argv[1:] if word != flag]
    unknown = [word for word in words if word not in names]
    if unknown:
        sys.stderr.write(f"error: no {'; '.join(unknown)}: choose from {'; '.join(names)}, or {flag}\n")
        raise SystemExit(64)
    return [name for name in names if name in words] or names


class Rows:
    """Finished rows by key, appended to a file as they are measured."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a line that a crash cut off is dropped."""
        self.path, self.rows = path, {}
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        for line in lines:
            if line.endswith("\n"):
                row = json.loads(line)
                self.rows[json.dumps(row["key"])] = row["figures"]

    def has(self, key: list[Any]) -> bool:
        """Say whether the figures of a key are there."""
        return json.dumps(key) in self.rows

    def get(self, key: list[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the figures of a key, measured now if they are not there."""
        name = json.dumps(key)
        if name not in self.rows:
            self.rows[name] = json.loads(json.dumps(make()))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "figures": self.rows[name]}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return self.rows[name]


class Tensors:
    """Named sets of tensors in a folder."""

    def __init__(self, folder: Path) -> None:
        """Make the folder."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return a set, made now if it is not there."""
        path = self.folder / (hashlib.sha256(name.encode()).hexdigest()[:20] + ".safetensors")
        if not path.exists():
            fresh = path.with_suffix(f".{os.getpid()}")
            save_file({key: value.contiguous() for key, value in make().items()}, fresh)
            fresh.rename(path)
        return load_file(path)
