"""Every protection beside ``exact`` on a Llama of 135 million random weights, in one run: processor seconds of
``protect``.

The methods take turns, on one worker, and the median of three turns counts.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch

from _keep import say
from _models import write
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from mergebarrier.protect import protection_named

TURNS = 3
#: row -> method and parameters.
ROWS: dict[str, tuple[str, dict[str, object]]] = {
    "exact": ("exact", {}),
    "exact, full": ("exact", {"profile": "full"}),
    "mergebarrier": ("mergebarrier", {}),
    "params, order from the key": ("params", {}),
    "mergelock": ("mergelock", {}),
    "params+mergelock": ("params+mergelock", {}),
    "widen": ("widen", {}),
    "params, order from the base": ("params", {"order": "base"}),
}


def seconds(source: Path, base: Path, name: str, out: Path) -> float:
    """Protect once, with the base where the order of neurons is taken against it."""
    protection = protection_named(*ROWS[name])
    key = Key(bytes([7]) * 32) if protection.keyed else None
    started = time.process_time()
    with open_checkpoint(source) as opened, open_checkpoint(base) as anchor:
        given = anchor if "order" in ROWS[name][1] else None
        verbs.protect(opened, protection, key, verbs.OutputOptions(out, overwrite=True), base=given)
    return time.process_time() - started


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    taken: dict[str, list[float]] = {name: [] for name in ROWS}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        base = write(work / "base", "135M")
        source = write(work / "expert", "135M", step=0.004)
        for _ in range(TURNS):
            for name in ROWS:
                taken[name].append(seconds(source, base, name, work / "out"))
                say(f"{name}: {taken[name][-1]:.2f} s")
    floor = statistics.median(taken["exact"])
    print("| method | processor seconds | beside exact |\n|---|---|---|")
    for name, found in taken.items():
        print(f"| {name} | {statistics.median(found):.2f} | {statistics.median(found) / floor:.2f} |")


if __name__ == "__main__":
    main()
