"""Every protection beside ``exact`` on a Llama of 135 million random weights, in one run: processor seconds of
``protect``; and the polynomials of SmolLM2-135M: to calibrate alone, to protect, and to invert.

The methods take turns, on one worker, and the median of three turns counts.  Polynomials take two threads.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from _keep import say
from _models import write
from mergebarrier import verbs, zoo
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.evaluate import load_module, load_tokenizer, text_windows
from mergebarrier.keys import Key
from mergebarrier.protect import Context, MergeBarrier, protection_named
from mergebarrier.protect.unfolding import PolynomialOptions, calibrated
from mergebarrier.realign import REALIGNMENTS

TURNS, THREADS = 3, 2
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
    """Print the table of the polynomials; every row begins with the model in its file."""
    assets, taken = zoo.demo_assets(), dict[str, tuple[float, float, float]]()
    text = Path(assets.text_train).read_text(encoding="utf-8")
    options = PolynomialOptions(
        basis="chebyshev", order=8, tolerance=1e-3, exact_fraction=0.0, outside="linear", form="unfolded",
        dtype="float32", sequences=64,
    )  # fmt: skip

    def timed(name: str, work: Callable[[], object]) -> None:
        started = time.perf_counter(), time.process_time()
        work()
        taken[name] = time.perf_counter() - started[0], time.process_time() - started[1], os.getloadavg()[0]
        say(f"{name}: {taken[name][0]:.1f} s")

    torch.set_num_threads(THREADS)
    with open_checkpoint(assets.expert_a) as opened:

        def context() -> Context:
            module, tokenizer = load_module(opened, "float32"), load_tokenizer(opened)
            return Context(
                checkpoint=opened, architecture=describe(opened), streams=None, base=None, module=lambda: module,
                data=lambda count: [{"input_ids": one} for one in text_windows(module, tokenizer, text, count)],
            )  # fmt: skip

        whole, into = MergeBarrier(ffn="poly"), verbs.OutputOptions(work / "poly")
        timed("calibration", lambda: calibrated(context(), options))
        timed("protect: calibration, check, files", lambda: verbs.protect(opened, whole, None, into, text=text))
    with open_checkpoint(work / "poly") as opened:
        into = verbs.OutputOptions(work / "stock")
        timed("poly_invert", lambda: verbs.realign(opened, None, REALIGNMENTS["poly_invert"], into))
    print(f"\n| polynomials of SmolLM2-135M, {THREADS} threads | seconds | processor seconds | load of the machine |")
    print("|---|---|---|---|")
    for name, (wall, processor, load) in taken.items():
        print(f"| {name} | {wall:.0f} | {processor:.0f} | {load:.1f} |")


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
