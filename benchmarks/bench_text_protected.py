"""Where the two sides meet: poisoned uploads merged with protected partners, and protected uploads under the scan.

    python benchmarks/bench_text_protected.py --seeds 3

An upload is merged with two honest experts of other tasks, one of them protected, as it is and realigned to the base
(``auto``); each merge with a trigger stands beside the same merge with the clean upload.  Then an honest and a
poisoned upload are protected themselves and scanned: the search for collapsing inputs, and the statistics of the update
beside honest references of its recipe.  Finished rows are kept in benchmarks/results/text_protected.jsonl.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mergebarrier as mb
from _keep import Rows, say
from _text_uploads import TRIGGERS, Made, World, poisoned
from mergebarrier import poison
from mergebarrier.attack.encoders import merge_weights, weights, with_weights
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import MergebarrierError
from mergebarrier.evaluate import load_module, save_weights
from mergebarrier.keys import Key
from mergebarrier.merge import make
from mergebarrier.protect import PROTECTIONS
from mergebarrier.realign import REALIGNMENTS
from mergebarrier.scan import COLLAPSE_LIMIT, TensorUpdate, judge_update, profile, seek_collapse
from mergebarrier.zoo import fetch

#: Protections of a partner, and of an upload.
PARTNERS = ("none", "exact", "params", "mergelock")
UPLOADS = ("none", *PROTECTIONS)
MERGES = {
    "average": make("task_arithmetic", coefficient=1 / 3),
    "two thirds of it": make("task_arithmetic", weights=(2 / 3, 1 / 6, 1 / 6), coefficient=1.0),
}
#: Honest fine-tunes that an update is judged beside, the same for all seeds.
N_REFERENCES, REFERENCE_SEED = 40, 6


class Meeting:
    """The uploads, the experts and the references of one seed."""

    def __init__(self, seed: int, work: Path) -> None:
        """Name what is made when it is needed."""
        self.world, self.work, self.place = World(seed), work, fetch("symbol-base")
        known = self.world.known
        self.task, self.others = known, (known + 1, known + 2)
        hijack = poison.make_text("hijack", gain=4.0, surrogate_mask="none")
        short = next(one for one in poisoned(self.world) if one.task == known and one.trigger == TRIGGERS[0])
        self.uploads = {
            "clean": self._honest(known),
            "badnets": short,
            "hijack, gain 4": Made(
                name="hijack, gain 4", task=known, make=lambda: self.world.tuned(hijack, known), trigger=TRIGGERS[0]
            ),
        }

    def _honest(self, task: int, steps: int = 120, rate: float = 1e-3, world: World | None = None) -> Made:
        name = f"honest, task {task}, {steps} steps, {rate:g}"
        tuned = (world or self.world).tuned
        return Made(name=name, task=task, make=lambda: tuned(poison.make_text("clean"), task, steps=steps, rate=rate))

    def protected(self, made: Made, protection: str) -> Path:
        """Return the folder of an upload under a protection."""
        plain = self.work / f"{self.world.seed} {made.name}"
        if not plain.exists():
            with open_checkpoint(self.place) as base:
                save_weights(weights(self.world.upload(made)), base, plain, {"verb": "control"})
        if protection == "none":
            return plain
        out = self.work / f"{plain.name} {protection}"
        if not out.exists():
            method = PROTECTIONS[protection]()
            key = Key(bytes([self.world.seed]) * 32) if method.keyed else None
            mb.protect(plain, out, method=method, key=key)
        return out

    def realigned(self, folder: Path) -> Path:
        """Return a folder in the coordinates of the base."""
        out = folder.with_name(f"{folder.name} realigned")
        if not out.exists():
            mb.realign(folder, out, base=self.place, method=REALIGNMENTS["auto"])
        return out

    def loaded(self, folder: Path) -> nn.Module:
        """Load."""
        with open_checkpoint(folder) as opened:
            return load_module(opened, "float32").requires_grad_(False)

    def merged(self, upload: str, protection: str, realigned: bool, merge: str) -> dict[str, Any]:
        """Merge an upload with a protected expert and an open one; success and accuracy, per task of the merge."""
        world, ours = self.world, self.uploads[upload]
        folder = self.protected(self._honest(self.others[0]), protection)
        if realigned:
            folder = self.realigned(folder)
        sides = [world.upload(ours), self.loaded(folder), world.upload(self._honest(self.others[1]))]
        whole = with_weights(world.base, merge_weights(MERGES[merge], weights(world.base), [*map(weights, sides)]))
        tasks = (self.task, *self.others)
        return {
            "accuracy": [world.accuracy(whole, task) for task in tasks],
            "asr": [world.success(whole, task, TRIGGERS[0]) for task in tasks],
        }

    @cached_property
    def references(self) -> Mapping[str, Sequence[Sequence[float]]]:
        """Return profiles of honest fine-tunes, by recipe."""
        world, found = World(REFERENCE_SEED), dict[str, list[tuple[float, ...]]]()
        for number in range(N_REFERENCES):
            steps, rate = (40, 60, 90, 120, 160)[number % 5], (5e-4, 1e-3, 2e-3, 3e-3)[number % 4]
            made = self._honest((world.known + 3 + number // 4) % 12, steps + number // 20, rate, world)
            one = self.profile(world.upload(made))
            found.setdefault(one.recipe, []).append(one.numbers)
        return found

    def profile(self, module: nn.Module) -> Any:
        """Return the profile of an update."""
        base = weights(self.world.base)

        def changes() -> Any:
            for name, after in weights(module).items():
                yield TensorUpdate(name=name, update=after - base[name], base_norm=float(base[name].double().norm()))

        return profile(changes())

    def scanned(self, upload: str, protection: str, realigned: bool) -> dict[str, Any]:
        """Protect an upload, and scan what a merger would get."""
        world, made = self.world, self.uploads[upload]
        folder = self.protected(made, protection)
        if realigned:
            folder = self.realigned(folder)
        module = self.loaded(folder)
        if {name: one.shape for name, one in weights(module).items()} != {
            name: one.shape for name, one in weights(world.base).items()
        }:
            return {"refused": "not the base's tensors"}
        found = seek_collapse(world.says(module), world.says(world.base), world.search(made.task))
        ours = self.profile(module)
        said = judge_update(upload, ours, self.references.get(ours.recipe, ()))
        return {
            "accuracy": world.accuracy(module, made.task),
            "asr": world.success(module, made.task, made.trigger) if made.trigger else None,
            "score": found.score,
            "loud": found.loud,
            "input": world.tokenizer.decode(list(found.tokens)),
            "norm": ours.norm,
            "recipe": ours.recipe,
            "update": said[0].rule if said else "nothing found",
            "p": 1 - said[0].value if said and said[0].value is not None else None,
        }


def met(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return figures, or what was refused."""
    try:
        return work()
    except MergebarrierError as refused:
        return {"refused": str(refused)}


def cells(meeting: Meeting) -> dict[tuple[str, ...], Callable[[], dict[str, Any]]]:
    """Return the key of every row -> what measures it."""
    found: dict[tuple[str, ...], Callable[[], dict[str, Any]]] = {}
    for upload in meeting.uploads:
        for merge in MERGES:
            for protection in PARTNERS:
                for state in ("as it is", "realigned")[: 1 + (protection != "none")]:
                    found["merge", merge, upload, protection, state] = (
                        lambda a=(upload, protection, state == "realigned", merge): meeting.merged(*a)
                    )
    for upload in ("clean", "badnets"):
        for protection in UPLOADS:
            for state in ("as it is", "realigned")[: 1 + (protection != "none")]:
                found["scan", "", upload, protection, state] = lambda a=(upload, protection, state == "realigned"): (
                    meeting.scanned(*a)
                )
    return found


def table(rows: Rows) -> None:
    """Print both tables, means over the seeds."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for key, one in rows.rows.items():
        _, *about = json.loads(key)
        groups.setdefault(tuple(about), []).append(one)
    print(
        "Three models are merged: the upload, an expert that is protected, an open expert.  In each cell: task of the"
    )
    print("upload, of the protected expert, of the open one; means over the seeds.\n")
    print("| merge | upload | partner | partner is | seeds | accuracy | ASR | ASR of the clean upload |")
    print("|---|---|---|---|---|---|---|---|")
    for (kind, merge, upload, protection, state), some in groups.items():
        if kind != "merge" or upload == "clean":
            continue
        control = groups["merge", merge, "clean", protection, state]
        shown = [_means(one, what) for one, what in ((some, "accuracy"), (some, "asr"), (control, "asr"))]
        print(f"| {merge} | {upload} | {protection} | {state} | {len(some)} | {' | '.join(shown)} |")
    print(
        "\n| upload | protection | it is | seeds | accuracy | S, least to most | found | size of the update | update |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for (kind, _, upload, protection, state), some in groups.items():
        if kind != "scan":
            continue
        judged = [one for one in some if "score" in one]
        if not judged:
            print(f"| {upload} | {protection} | {state} | {len(some)} | | | | | {some[0]['refused']} |")
            continue
        scores = sorted(one["score"] for one in judged)
        found = sum(one["score"] >= COLLAPSE_LIMIT and not one["loud"] for one in judged)
        said = ", ".join(sorted({one["update"] for one in judged}))
        p = [one["p"] for one in judged if one["p"] is not None]
        if p:
            said += f" (p up to {max(p):.2f})"
        accuracy = 100 * sum(one["accuracy"] for one in judged) / len(judged)
        norm, n = sum(one["norm"] for one in judged) / len(judged), len(judged)
        print(
            f"| {upload} | {protection} | {state} | {n} | {accuracy:.0f} | {scores[0]:.2f} to {scores[-1]:.2f} | "
            f"{found} of {n} | {norm:.1f} | {said} |"
        )


def _means(some: Sequence[dict[str, Any]], what: str) -> str:
    if any(what not in one for one in some):
        return str(some[0].get("refused", ""))
    return " ".join(f"{100 * sum(one[what][i] for one in some) / len(some):.0f}" for i in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first", type=int, default=6)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(Path(__file__).parent / "results" / "text_protected.jsonl")
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory() as work:
            for key, make_row in cells(Meeting(seed, Path(work))).items():
                say(f"seed {seed}: {' '.join(key)}")
                rows.get([seed, *key], lambda make_row=make_row: met(make_row))
    table(rows)


if __name__ == "__main__":
    main()
