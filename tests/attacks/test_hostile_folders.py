"""Every hostile folder is refused with one line, in bounded time, before anything is written."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hostile import CASES, Case
from mergebarrier.checkpoint import Writer, layout_like, open_checkpoint
from mergebarrier.run import transform

ALL = pytest.mark.parametrize("attack", CASES, ids=lambda attack: attack.name)
MOST_SECONDS = 2.0
MOST_MIB = 200


def snapshot(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of everything below a folder."""
    return sorted((str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*"))


def copy_model(source: Path, out: Path) -> None:
    """The least that any verb does: open, claim the output, stream every tensor, commit."""
    with open_checkpoint(source) as checkpoint:
        digest = checkpoint.content_digest()
        writer = Writer.create(out, layout_like(checkpoint), plan={"input": digest}, inputs=[source])
        try:
            transform([checkpoint], writer, [], lambda unit, tensors: tensors[0])
            writer.commit({}, {}, {name: checkpoint.read_side_file(name) for name in checkpoint.side_files})
        finally:
            writer.close()


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40
    assert len({attack.name for attack in CASES}) == len(CASES)


@ALL
def test_refused_with_one_line_and_no_output(attack: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "model"
    attack.build(source)
    before = snapshot(tmp_path)
    opened: list[Path] = []
    really_open = os.open

    def watched(path: str | Path, flags: int, mode: int = 0o777, **more: Any) -> int:
        opened.append(Path(os.path.realpath(path)))
        return really_open(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", watched)
    started = time.process_time()
    with pytest.raises(attack.error) as caught:
        copy_model(source, tmp_path / "out")
    assert time.process_time() - started < MOST_SECONDS
    root = source.resolve()
    assert all(root == path or root in path.parents for path in opened)
    error, line = caught.value, str(caught.value)
    assert type(error) is attack.error
    assert error.exit_code == 2
    assert "\n" not in line and line.isprintable() and len(line) < 1000
    assert line.startswith(error.code)
    for words in attack.says:
        assert words in line
    assert error.remedy
    assert not (tmp_path / "out").exists()
    assert snapshot(tmp_path) == before


BOMBS = [attack for attack in CASES if attack.name.startswith("t05") or "bomb" in attack.name]


def test_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    """One process opens every bomb; its peak above the imports stays small."""
    for attack in BOMBS:
        attack.build(tmp_path / attack.name)
    script = (
        "import resource, sys\n"
        "from mergebarrier.checkpoint import open_checkpoint\n"
        "from mergebarrier.errors import MergebarrierError\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        open_checkpoint(path).close()\n"
        "        sys.exit(f'accepted {path}')\n"
        "    except MergebarrierError:\n"
        "        pass\n"
        "print((peak() - before) // 1024)\n"
    )
    paths = [str(tmp_path / attack.name) for attack in BOMBS]
    ran = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    assert len(BOMBS) >= 10
    assert int(ran.stdout) < MOST_MIB
