"""What the lineage of a merge costs: declarations, relatives and checks, as shares of the merge that they belong to."""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from _models import parameters, write
from mergebarrier import verbs, zoo
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.checkpoint.bytes.tensors import Tree
from mergebarrier.circuits import describe
from mergebarrier.evaluate import read_text
from mergebarrier.keys import Key
from mergebarrier.merge import make, plan
from mergebarrier.protect import Exact, MergeBarrier, Protection
from mergebarrier.realign import relation
from mergebarrier.verbs import job as _merge

REPEATS = 5
SHAPE = "135M"
PARTS = {
    "judge": "cards, licences, marks",
    "relatives": "experts against the base (all ordinary)",
    "check_merged": "weights, copies, vocabulary, tie",
}
DIGESTS = "digests of all weights, as they are read and written"
METHODS: dict[str, dict[str, Any]] = {"linear": {}, "ties": {"density": 0.5}}


class Clock:
    """Processor seconds of each part of the merges that run inside it."""

    def __init__(self) -> None:
        """Start with nothing measured."""
        self.taken: dict[str, list[float]] = {}
        self.digesting = 0.0

    def run(self, name: str, function: Callable[..., Any], *words: Any, **more: Any) -> Any:
        """Call a function and keep its processor time."""
        started = time.process_time()
        result = function(*words, **more)
        self.taken.setdefault(name, []).append(time.process_time() - started)
        return result

    def watch(self, name: str) -> None:
        """Measure a part of ``verbs.merge`` from now on."""
        inner = getattr(_merge, name)
        setattr(_merge, name, lambda *words, **more: self.run(name, inner, *words, **more))

    def watch_digests(self) -> None:
        """Measure the digests of weights from now on, in whichever thread they are taken."""
        for name in ("add", "hexdigest"):
            inner = getattr(Tree, name)
            setattr(Tree, name, lambda *words, inner=inner: self._digest(inner, *words))

    def _digest(self, inner: Callable[..., Any], *words: Any) -> Any:
        started = time.thread_time()
        result = inner(*words)
        self.digesting += time.thread_time() - started
        return result


def merged(folders: list[Path], method: str, out: Path) -> None:
    """Merge, over what stands there."""
    shutil.rmtree(out, ignore_errors=True)
    base, *experts = (open_checkpoint(folder) for folder in folders)
    job = verbs.whole_models(plan(make(method, **METHODS[method]), base, experts), base)
    verbs.merge(job, verbs.OutputOptions(out))
    for opened in (base, *experts):
        opened.close()


def protections() -> dict[str, Protection]:
    """Return what an owner may have done to an expert."""
    return {
        "exact, lossless": Exact(),
        "exact, full": Exact(profile="full"),
        "exact, MLP only": Exact(only=("mlp",)),
        "exact, residual only": Exact(only=("residual",)),
        "mergebarrier": MergeBarrier(),
    }


def real(root: Path) -> None:
    """Print how the expert of the demonstration stands to its base, plain and protected, and what a merge of it is."""
    assets = zoo.demo_assets()
    plain = {"the base": assets.base, "expert A, as trained": assets.expert_a, "expert B, as trained": assets.expert_b}
    for name, protection in protections().items():
        plain[f"expert B, {name}"] = root / name
        with open_checkpoint(assets.expert_b) as expert:
            verbs.protect(
                expert, protection, Key(bytes(32)) if protection.keyed else None, verbs.OutputOptions(root / name)
            )
    print("\nSmolLM2-135M and the experts of the demonstration: cosine to the base, attention / MLP.\n")
    print("| model | as stored | coordinates estimated | finding | s |\n|---|---|---|---|---|")
    for name, folder in plain.items():
        with open_checkpoint(folder) as model, open_checkpoint(assets.base) as base:
            started = time.process_time()
            found = relation(describe(model), model, base)
            seconds = time.process_time() - started
        before, after = (
            " / ".join(f"{side[kind]:.3f}" for kind in ("attn", "mlp") if kind in side) or "-"
            for side in (found.before, found.after)
        )
        print(f"| {name} | {before} | {after} | {found.kind} | {seconds:.2f} |")
    print("\nPerplexity on the text of the demonstration, of linear merges of experts A and B with equal weights.\n")
    print("| expert B | merge | worst input | suspect | length | cosine to A |\n|---|---|---|---|---|---|")
    text = read_text(assets.text_test)
    for name in ("expert B, as trained", "expert B, exact, lossless"):
        with open_checkpoint(assets.expert_a) as one, open_checkpoint(plain[name]) as two:
            job = verbs.whole_models(plan(make("linear"), None, [one, two]))
            shutil.rmtree(root / "out", ignore_errors=True)
            checks = verbs.merge(job, verbs.OutputOptions(root / "out"), verbs.Checks(text=text))["checks"]
        figures, weights = checks["perplexity"], checks["weights"]
        worst = max(figures["inputs"].values())
        cosine = next(iter(weights["cosine"].values()))
        cells = (figures["merged"], worst, "yes" if checks["suspect"] else "no", weights["norm_ratio"], cosine)
        print(f"| {name.removeprefix('expert B, ')} | {' | '.join(map(str, cells))} |")


def main() -> None:
    """Print what the parts cost, and what they find on a real model."""
    torch.set_num_threads(1)
    clock = Clock()
    for name in PARTS:
        clock.watch(name)
    clock.watch_digests()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        folders = [write(root / "base", SHAPE), *(write(root / f"e{i}", SHAPE, step=0.02 * i) for i in (1, 2))]
        print(f"Three tied Llamas of {parameters(SHAPE) / 1e6:.0f}M weights in BF16, one thread; processor time,")
        print(f"medians of {REPEATS} merges.\n\n| merge of a base and two experts | s | share |\n|---|---|---|")
        for method in METHODS:
            clock.taken.clear()
            for _ in range(REPEATS):
                sys.stderr.write(f"{method} ...\n")
                clock.digesting = 0.0
                clock.run("all", merged, folders, method, root / "out")
                clock.taken.setdefault(DIGESTS, []).append(clock.digesting)
            whole = statistics.median(clock.taken["all"])
            print(f"| {method}, whole | {whole:.2f} | |")
            together = 0.0
            for name, what in {**PARTS, DIGESTS: DIGESTS}.items():
                part = statistics.median(clock.taken[name])
                together += part
                print(f"| {method}: {what} | {part:.3f} | {100 * part / whole:.1f} % |")
            print(f"| {method}: together | {together:.3f} | {100 * together / whole:.1f} % |")
        with open_checkpoint(folders[1]) as expert:
            verbs.protect(expert, Exact(), Key(bytes(32)), verbs.OutputOptions(root / "protected"))
        with open_checkpoint(root / "protected") as protected, open_checkpoint(folders[0]) as base:
            found = clock.run("protected", relation, describe(protected), protected, base)
        print(f"\nA protected expert is found ({found.kind}) in {clock.taken['protected'][0]:.1f} s more.")
        real(root)


if __name__ == "__main__":
    main()
