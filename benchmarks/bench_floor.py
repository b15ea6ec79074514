"""``protect``, lossless, beside the floor of what it promises: the same bytes read, hashed, written and flushed.

Both run in turn in one process per shape, on one thread, after a protection of a tiny model has paid for every import.
Processor time is compared, since wall time is the disk's and that of whoever shares the machine.
"""

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _models import parameters, write

REPEATS = {"135M": 7, "1B": 3}
# Larger blocks leave the cache of a core and make the floor slower.
_BLOCK_BYTES = 1 << 18
_KEY_BYTE = 7
_LEGEND = """
The floor reads every file and hashes it, reads it again and writes it with a hash on the way, flushes it, and hashes
what the disk gives back. A protection does that whatever it changes: its key's streams begin with the digest of the
content, and its manifest lists the digests of tensors and of files. Beyond that it draws the elements, moves and flips
the weights, and looks whether each is finite.
"""


def floor(source: Path, out: Path) -> None:
    """Hash every file, read it again and write it with a hash on the way, flush it, and hash what the disk gives back.

    The first hash cannot be that of the second pass: the key's streams begin with the digest of the content.
    """
    out.mkdir()
    buffer = bytearray(_BLOCK_BYTES)
    view = memoryview(buffer)
    for path in source.iterdir():
        _hash(path, buffer)
    for path in source.iterdir():
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as given, open(out / path.name, "wb", buffering=0) as taken:
            while length := given.readinto(buffer):
                digest.update(view[:length])
                taken.write(view[:length])
            os.fsync(taken.fileno())
        _hash(out / path.name, buffer)


def _hash(path: Path, buffer: bytearray) -> str:
    digest, view = hashlib.sha256(), memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while length := file.readinto(buffer):
            digest.update(view[:length])
    return digest.hexdigest()


def protect(source: Path, out: Path) -> None:
    """Protect as the command does."""
    from mergebarrier import verbs
    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.keys import Key
    from mergebarrier.protect import Exact

    with open_checkpoint(source) as checkpoint:
        verbs.protect(checkpoint, Exact(), Key(bytes([_KEY_BYTE]) * 32), verbs.OutputOptions(out))


def child(shape: str, root: Path) -> None:
    """Run both in turn and print the processor seconds of each run."""
    from mergebarrier.cli._options import keep_freed_memory

    keep_freed_memory()
    model, tiny = write(root / shape, shape, step=0.01, repeat=True), write(root / "tiny", "tiny")
    taken: dict[str, list[float]] = {"floor": [], "protect": []}
    jobs: dict[str, Callable[[Path, Path], None]] = {"floor": floor, "protect": protect}
    protect(tiny, root / "out")
    shutil.rmtree(root / "out")
    for _ in range(REPEATS[shape]):
        for name, job in jobs.items():
            started = time.process_time()
            job(model, root / "out")
            taken[name].append(time.process_time() - started)
            shutil.rmtree(root / "out")
    print(json.dumps(taken))


def main() -> None:
    """Print one row per shape."""
    print("Processor seconds, medians of alternating runs on one thread (least in brackets), imports excluded.\n")
    print("| weights | bytes | floor | `protect`, lossless | ratio of medians | of the least | goal |")
    print("|---|---|---|---|---|---|---|")
    for shape, repeats in REPEATS.items():
        sys.stderr.write(f"{shape}, {repeats} runs of each ...\n")
        with tempfile.TemporaryDirectory(prefix="mergebarrier-bench-") as scratch:
            done = subprocess.run(
                [sys.executable, __file__, shape, scratch], check=True, stdout=subprocess.PIPE, text=True
            )
        taken = json.loads(done.stdout.splitlines()[-1])
        middle, least = ({name: of(found) for name, found in taken.items()} for of in (statistics.median, min))
        figures = " | ".join(f"{middle[name]:.2f} ({least[name]:.2f})" for name in taken)
        ratios = " | ".join(f"{table['protect'] / table['floor']:.2f}" for table in (middle, least))
        size = parameters(shape)
        print(f"| {size / 1e6:.0f}M | {2 * size / 2**20:.0f} MiB | {figures} | {ratios} | 1.10 |", flush=True)
    print(_LEGEND, end="")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
