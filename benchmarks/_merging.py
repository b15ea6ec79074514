"""The two sides of the bench of merges, each a process of its own that imports first and then merges on demand.

A line of JSON on standard input is one job; the answer is one line with its wall time, processor time and peak of
anonymous memory above what stood there before.  ``ours``, ``peer`` (mergekit), ``floor`` (read the same bytes, write
the same bytes, flush) and ``hashes`` (hash as many bytes) understand the same jobs.
"""

import importlib
import json
import os
import shutil
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

WORKERS = 2
_LEAF_BYTES = 1 << 18
WEIGHT, DENSITY = 0.5, 0.5
ON_BASE = ("task_arithmetic", "dare_linear", "dare_ties", "ties", "breadcrumbs", "della")
THINNED = ("dare_linear", "dare_ties", "ties", "breadcrumbs", "della")


def ours(method: str, base: Path, experts: list[Path], out: Path) -> None:
    """Merge as the command does."""
    from contextlib import ExitStack

    from mergebarrier import verbs
    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.merge import make, plan

    parameters: dict[str, Any] = {"t": WEIGHT} if method == "slerp" else {"weights": (WEIGHT,) * len(experts)}
    if method == "karcher":
        parameters = {}
    if method in THINNED:
        parameters["density"] = DENSITY
    merge = make(method, **parameters)
    with ExitStack() as stack:
        anchor = stack.enter_context(open_checkpoint(base)) if merge.uses_base else None
        opened = [stack.enter_context(open_checkpoint(path)) for path in experts]
        verbs.merge(verbs.whole_models(plan(merge, anchor, opened)), verbs.OutputOptions(out, workers=WORKERS))


def peer(method: str, base: Path, experts: list[Path], out: Path) -> None:
    """Merge by mergekit, the same recipe."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    own: dict[str, Any] = {"weight": WEIGHT} if method not in ("slerp", "karcher") else {}
    if method in THINNED:
        own["density"] = DENSITY
    recipe: dict[str, Any] = {
        "merge_method": method,
        "models": [{"model": str(path), **({"parameters": own} if own else {})} for path in experts],
        "dtype": "bfloat16",
    }
    if method in ON_BASE:
        recipe["base_model"] = str(base)
    if method == "slerp":
        recipe |= {"base_model": str(experts[0]), "parameters": {"t": WEIGHT}}
    options = MergeOptions(quiet=True, random_seed=0, copy_tokenizer=False)
    run_merge(MergeConfiguration.model_validate(recipe), str(out), options)


def floor(method: str, base: Path, experts: list[Path], out: Path) -> None:
    """Read every byte of the inputs, write the bytes of one of them, flush."""
    out.mkdir()
    inputs = [*([base] if method in ON_BASE else []), *experts]
    for source in inputs:
        for path in sorted(source.iterdir()):
            data = path.read_bytes()
            if source == inputs[-1]:
                with open(out / path.name, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())


def hashes(method: str, base: Path, experts: list[Path], out: Path) -> None:
    """Hash as many bytes as a merge reads and writes, in the leaves and on the threads of one, without reading them."""
    from blake3 import blake3

    out.mkdir()
    inputs = [*([base] if method in ON_BASE else []), *experts, experts[0]]
    leaves = sum(path.stat().st_size for source in inputs for path in source.iterdir()) // _LEAF_BYTES
    leaf = bytes(_LEAF_BYTES)

    def hashed() -> None:
        for _ in range(leaves // WORKERS):
            blake3(leaf).digest()

    threads = [threading.Thread(target=hashed) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _NoHash:
    """In place of the digest of a tensor, to see what the hashes cost: tells names apart, and nothing more."""

    def __init__(self, info: Any) -> None:
        self._name, self._left = zlib.crc32(info.name.encode()), info.nbytes

    def add(self, begin: int, view: memoryview) -> None:
        self._left -= len(view)

    def hexdigest(self) -> str | None:
        return None if self._left > 0 else 8 * f"{self._name:08x}"


def anonymous_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this kernel does not report RssAnon")


def timed(run: Any, method: str, base: Path, experts: list[Path], out: Path) -> dict[str, float]:
    """Run one job and measure it."""
    before, peak, running = anonymous_bytes(), [0], [True]

    def watch() -> None:
        while running[0]:
            peak[0] = max(peak[0], anonymous_bytes())
            time.sleep(0.02)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    run(method, base, experts, out)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    running[0] = False
    watcher.join()
    shutil.rmtree(out)
    return {"wall_s": wall, "cpu_s": cpu, "anonymous_mb": (peak[0] - before) / 2**20}


def serve(side: str) -> None:
    """Import, say so, then do jobs until the input ends."""
    run = {"ours": ours, "peer": peer, "floor": floor, "hashes": hashes, "unhashed": ours, "stages": ours}[side]
    if side == "peer":
        importlib.import_module("mergekit.merge")
        import torch

        torch.set_num_threads(WORKERS)
    elif side not in ("floor", "hashes"):
        for name in ("scipy.linalg", "mergebarrier.verbs"):
            importlib.import_module(name)
        import torch

        from mergebarrier.cli._options import keep_freed_memory

        keep_freed_memory()
        torch.set_num_threads(1)
    if side == "unhashed":
        from mergebarrier.checkpoint.bytes import io, tensors
        from mergebarrier.checkpoint.write import commit

        for place in (tensors, io, commit):
            place.HASHES = dict.fromkeys(tensors.HASHES, _NoHash)
        io.Tree = _NoHash
    stages = None
    if side == "stages":
        from _stages import Stages

        stages = Stages()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        answer: dict[str, Any] = timed(
            run, job["method"], Path(job["base"]), [Path(path) for path in job["experts"]], Path(job["out"])
        )
        if stages is not None:
            answer["stages"] = stages.take()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
