"""Files of a report: whole or not there."""

import os
from pathlib import Path


def fresh_name(name: str) -> str:
    """Return the name that a file has until it is complete."""
    return f".{name}.new"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, and rename it once it is on the disk."""
    fresh = path.with_name(fresh_name(path.name))
    fresh.unlink(missing_ok=True)
    with fresh.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
