"""MergeBarrier's polynomials on a language model: what they keep, what they cost, and what brings the weights back.

The demonstration's expert is protected, calibrated on prose, and judged on books that were held out and on program
text.  Rows that are finished are kept, so a run that was stopped goes on where it was: give it a folder for its
models.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import mergebarrier as mb
from _keep import Rows, say
from mergebarrier import zoo
from mergebarrier.api import plan_protect
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.errors import MergebarrierError
from mergebarrier.evaluate import compare, load_module, load_tokenizer, perplexity, token_ids
from mergebarrier.merge import make
from mergebarrier.protect import MergeBarrier
from mergebarrier.realign import REALIGNMENTS
from mergebarrier.symmetry import feed_forward

KEPT = Path(__file__).parent / "results" / "poly_ffn.jsonl"
ITEMS, TOKENS, WINDOW, RUNS = 50, 2048, 256, 5
#: What is published or recovered -> the protection, and the attacks that follow.
ROWS: Mapping[str, tuple[dict[str, Any] | None, tuple[str, ...]]] = {
    "unprotected": (None, ()),
    "attention alone": ({}, ()),
    "attention and polynomials": ({"ffn": "poly"}, ()),
    "after poly_invert, flip_again, gaugefix": ({"ffn": "poly"}, ("poly_invert", "flip_again", "gaugefix")),
    "after base_ffn, flip_again": ({"ffn": "poly"}, ("base_ffn", "flip_again")),
}


class Bench:
    """The models of a run, each made when it is first needed."""

    def __init__(self, work: Path) -> None:
        """Look for the assets."""
        self.assets, self.kept, self.work = zoo.demo_assets(), Rows(KEPT), work
        work.mkdir(parents=True, exist_ok=True)

    def model(self, parameters: dict[str, Any] | None, attacks: tuple[str, ...] = ()) -> Path:
        """Return a published model after attacks."""
        if parameters is None:
            return Path(self.assets.expert_a)
        if attacks:
            folder = self.work / "-".join(("poly", *attacks))
            if not folder.exists():
                before = self.model(parameters, attacks[:-1])
                mb.realign(before, folder, base=self.assets.base, method=REALIGNMENTS[attacks[-1]])
            return folder
        folder = self.work / ("poly" if parameters else "flips")
        if not folder.exists():
            text = self.assets.text_train if parameters else None
            mb.protect(self.assets.expert_a, folder, method=MergeBarrier(**parameters), text=text)
        return folder

    @cached_property
    def sides(self) -> list[torch.nn.Module]:
        """Return the stock model and the published one."""
        found = []
        for folder in (self.model(None), self.model({"ffn": "poly"})):
            with open_checkpoint(folder) as opened:
                found.append(load_module(opened, "float32"))
        return found

    @cached_property
    def tokenizer(self) -> Any:
        """Return the tokenizer of both."""
        with open_checkpoint(self.assets.expert_a) as opened:
            return load_tokenizer(opened)

    def protect(self) -> dict[str, Any]:
        """Time the protection, and return what it measured."""
        started = time.perf_counter()
        plan_protect(self.assets.expert_a, method=MergeBarrier(ffn="poly"), text=self.assets.text_train)
        calibrated = time.perf_counter()
        folder = self.model({"ffn": "poly"})
        seconds = time.perf_counter() - calibrated
        with open_checkpoint(folder) as opened:
            said = mb.inspect(folder).manifest["parameters"]
            size = sum(info.nbytes for info in opened.tensors.values())
        with open_checkpoint(self.assets.expert_a) as opened:
            stock = sum(info.nbytes for info in opened.tensors.values())
        names = ("polynomial_share", "out_of_range_share", "kl_nats", "top1_agreement")
        return {name: said[name] for name in names} | {
            "seconds": seconds, "calibration_s": calibrated - started,
            "stock_layers": len(said["stock_layers"]), "MiB": size / 2**20, "stock_MiB": stock / 2**20,
        }  # fmt: skip

    def quality(self, name: str) -> dict[str, Any]:
        """Compare both on a text."""
        texts = {"a book that was held out": self.assets.text_test, "program text": argparse.__file__}
        text = Path(texts[name]).read_text(encoding="utf-8")
        same = compare(*self.sides, token_ids(self.tokenizer, text, TOKENS))
        scores = [perplexity(side, self.tokenizer, text, TOKENS).perplexity for side in self.sides]
        return {"kl_nats": same.kl_nats, "top1": same.top1_agreement, "before": scores[0], "after": scores[1]}

    @torch.no_grad()
    def speed(self) -> dict[str, Any]:
        """Time a pass of both, and count what they hold in memory."""
        ids = torch.arange(WINDOW)[None] + 1000
        times: list[list[float]] = [[], []]
        for _ in range(RUNS):
            for side, found in zip(self.sides, times, strict=True):
                started = time.perf_counter()
                side(input_ids=ids)
                found.append(time.perf_counter() - started)
        held = [sum(p.numel() * p.element_size() for p in side.parameters()) / 2**20 for side in self.sides]
        before, after = (sorted(found)[RUNS // 2] * 1e3 for found in times)
        return {"before_ms": before, "after_ms": after, "before_MiB": held[0], "after_MiB": held[1]}

    def inverted(self) -> dict[str, Any]:
        """Time the inversion, and compare W_down with the owner's neuron by neuron, whatever their order."""
        published, out = self.model({"ffn": "poly"}), self.work / "poly-poly_invert"
        started = time.perf_counter()
        mb.realign(published, out, method=REALIGNMENTS["poly_invert"])
        seconds, errors = time.perf_counter() - started, []
        with open_checkpoint(self.assets.expert_a) as ours, open_checkpoint(out) as theirs:
            for circuit in describe(ours).circuits:
                network = feed_forward(circuit)
                if network is not None:
                    then, now = (network.parts({name: side.read(name) for name in circuit.tensors})["down"].double()
                                 for side in (ours, theirs))  # fmt: skip
                    errors.append(torch.cdist(then, now).amin(1) / then.norm(dim=1))
        found = torch.cat(errors)
        exact = float((found <= 1e-5).double().mean())
        return {"seconds": seconds, "median": float(found.median()), "max": float(found.max()), "within_1e-5": exact}

    def bits(self) -> dict[str, Any]:
        """Count the tensors that come back bit for bit after the whole chain."""
        folder = self.model(*ROWS["after poly_invert, flip_again, gaugefix"])
        with open_checkpoint(self.assets.expert_a) as ours, open_checkpoint(folder) as theirs:
            then, now = ours.digests(), theirs.digests()
        return {"tensors": len(then), "equal": sum(now[name] == digest for name, digest in then.items())}

    def skills(self, name: str, coefficient: float | None) -> dict[str, Any]:
        """Score a model alone, or merged with the partner by task arithmetic."""
        tasks = [self.assets.task_a.test, self.assets.task_b.test]
        folder = self.model(*ROWS[name])
        with tempfile.TemporaryDirectory(dir=self.work) as scratch:
            if coefficient is not None:
                out = Path(scratch) / "merged"
                try:
                    method = make("task_arithmetic", coefficient=coefficient)
                    mb.merge([folder, self.assets.expert_b], out, base=self.assets.base, method=method)
                except MergebarrierError as refused:
                    return {"refused": refused.code}
                folder = out
            found = mb.evaluate(folder, tasks=tasks, max_items=ITEMS)
        return {"protected": found.tasks[0].score.rate, "partner": found.tasks[1].score.rate}


def main(work: Path) -> None:
    """Print the tables."""
    bench = Bench(work)

    def kept(key: list[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        say(" ".join(map(str, key)))
        return bench.kept.get(key, make)

    done = kept(["protect"], bench.protect)
    print(
        f"`protect --method mergebarrier --ffn poly` of expert-tickets: {done['seconds']:.0f} s, of these "
        f"{done['calibration_s']:.0f} s to calibrate and check;\n{100 * done['polynomial_share']:.1f} % of neurons are "
        f"polynomials of order 8, {done['stock_layers']} layers stay; {done['stock_MiB']:.0f} MiB of weights become "
        f"{done['MiB']:.0f} MiB.\nHeld out: {done['kl_nats']:.1e} nats a token, first choice kept "
        f"{100 * done['top1_agreement']:.2f} %, {100 * done['out_of_range_share']:.3f} % of values out of range in the "
        "worst layer.\n"
    )
    print(f"| text, {TOKENS} tokens, float32 | KL, nats a token | first choice kept | perplexity before | after |")
    print("|---|---|---|---|---|")
    for name in ("a book that was held out", "program text"):
        one = kept(["quality", name], lambda name=name: bench.quality(name))
        print(
            f"| {name} | {one['kl_nats']:.1e} | {100 * one['top1']:.2f} % | {one['before']:.3f} | {one['after']:.3f} |"
        )
    fast = kept(["speed"], bench.speed)
    print(
        f"\nA pass over {WINDOW} tokens: {fast['before_ms']:.0f} ms stock, {fast['after_ms']:.0f} ms with polynomials "
        f"({fast['after_ms'] / fast['before_ms']:.2f} x); in memory, float32: {fast['before_MiB']:.0f} and "
        f"{fast['after_MiB']:.0f} MiB."
    )
    back, bits = kept(["poly_invert"], bench.inverted), kept(["bits"], bench.bits)
    print(
        f"\n`realign --method poly_invert`: {back['seconds']:.0f} s; columns of W_down: median relative "
        f"error {back['median']:.1e}, largest {back['max']:.1e}, {100 * back['within_1e-5']:.2f} % within 1e-5.\n"
        f"After `flip_again` and `gaugefix` {bits['equal']} of {bits['tensors']} tensors are the owner's, every bit.\n"
    )
    print("| skills: protected expert's task / partner's | alone | task arithmetic .7 | 1 |\n|---|---|---|---|")
    for name in ROWS:
        cells = []
        for coefficient in (None, 0.7, 1.0):
            one = kept([name, coefficient], lambda name=name, at=coefficient: bench.skills(name, at))
            refused = one.get("refused")
            cells.append(f"refused, {refused}" if refused else f"{one['protected']:.2f} / {one['partner']:.2f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
