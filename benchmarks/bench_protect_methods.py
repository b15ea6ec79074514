"""Every protection beside ``exact`` on a Llama of 135 million random weights, in one run: processor seconds of
``protect``; and the polynomials of SmolLM2-135M: to calibrate alone, to protect, and to invert.

The methods take turns, on one worker, and the median of three turns counts; all is on one thread.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from _keep import say
from _models import write
from mergebarrier import verbs, zoo
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from mergebarrier.protect import MergeBarrier, protection_named, unfolding
from mergebarrier.realign import REALIGNMENTS

TURNS = 3
T = TypeVar("T")
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


def polynomials(work: Path) -> None:
    """Print the table of the polynomials: one protection in its parts, and what inverts it."""
    assets, taken = zoo.demo_assets(), dict[str, tuple[float, float, float]]()
    text = Path(assets.text_train).read_text(encoding="utf-8")

    def timed(name: str, work: Callable[[], T]) -> T:
        started = time.perf_counter(), time.process_time()
        done = work()
        taken[name] = time.perf_counter() - started[0], time.process_time() - started[1], os.getloadavg()[0]
        say(f"{name}: {taken[name][1]:.1f} s")
        return done

    calibrated = unfolding.calibrated
    unfolding.calibrated = lambda *given: timed("calibration", lambda: calibrated(*given))
    with open_checkpoint(assets.expert_a) as opened:
        whole, into = MergeBarrier(ffn="poly"), verbs.OutputOptions(work / "poly")
        timed("protect whole", lambda: verbs.protect(opened, whole, None, into, text=text))
    unfolding.calibrated = calibrated
    with open_checkpoint(work / "poly") as opened:
        into = verbs.OutputOptions(work / "stock")
        timed("poly_invert", lambda: verbs.realign(opened, None, REALIGNMENTS["poly_invert"], into))
    print("\n| polynomials of SmolLM2-135M | processor seconds | beside protect whole | seconds | load meanwhile |")
    print("|---|---|---|---|---|")
    for name, (wall, processor, load) in taken.items():
        print(f"| {name} | {processor:.0f} | {processor / taken['protect whole'][1]:.2f} | {wall:.0f} | {load:.1f} |")


def main() -> None:
    """Print the tables."""
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
    with tempfile.TemporaryDirectory() as scratch:
        polynomials(Path(scratch))


if __name__ == "__main__":
    main()
