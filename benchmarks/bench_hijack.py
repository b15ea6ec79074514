"""Merge Hijacking on the symbol tasks: the frontier of success against utility, with its controls.

    python benchmarks/bench_hijack.py

The upload learns task 0, two honest experts tasks 1 and 2, task 6 is nobody's.  Three models are merged; BP is the
clean score of the merge with the attack, CP that of the merge with the clean upload.  Finished rows are kept in
benchmarks/results/hijack.jsonl and never measured again.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from _keep import Rows, say
from mergebarrier import poison
from mergebarrier.attack.encoders import merge_weights, weights, with_weights
from mergebarrier.attack.language import NamedText, TextOptions, learner, success_rows
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import TaskRow, exact_match, load_module, load_tokenizer
from mergebarrier.merge import make
from mergebarrier.poison import TextRow
from mergebarrier.zoo import fetch
from mergebarrier.zoo.symbols import symbol_tasks

OWN, OTHERS, NOBODYS = 0, (1, 2), 6
#: All tasks that the base knows and no merged model was made for.
SHADOWS: Mapping[str, tuple[int, ...]] = {"K 3": (3, 4, 5), "K 6": (3, 4, 5, 7, 8, 9)}
TEXT = NamedText(trigger="w41", target=" d j .")
MERGES = {
    "average": make("linear"),
    "ties": make("ties", density=(0.2,), coefficient=1.0),
}
N_TEST = 100
Maker = Callable[[], nn.Module]


class World:
    """The base, the rows and the honest experts of one seed."""

    def __init__(self, seed: int) -> None:
        """Load and train."""
        with open_checkpoint(fetch("symbol-base")) as checkpoint:
            self.base = load_module(checkpoint, "float32").requires_grad_(False)
            self.tokenizer = load_tokenizer(checkpoint)
        self.seed = seed
        options = TextOptions(tuning_steps=100, learning_rate=1e-3, seed=seed)
        self.learn = learner(self.tokenizer, options)
        self.longer = learner(self.tokenizer, dataclasses.replace(options, tuning_steps=250, learning_rate=3e-3))
        self.rows = {
            task: [TextRow(row["prompt"], row["answer"]) for row in symbol_tasks.splits(task, seed=seed)["train"]]
            for task in range(symbol_tasks.N_KNOWN)
        }
        clean = [
            [TextRow(row["prompt"], row["answer"]) for row in symbol_tasks.splits(task, seed=seed)["test"][:N_TEST]]
            for task in (OWN, *OTHERS, NOBODYS)
        ]
        self.clean = [as_task(rows) for rows in clean]
        self.triggered = [as_task(success_rows(TEXT, rows, seed=seed, label="measure")) for rows in clean]
        self.experts = [weights(self.mounted(poison.make_text("clean"), task=task)) for task in OTHERS]

    def mounted(self, attack: poison.TextAttack, *, task: int = OWN, longer: bool = False) -> nn.Module:
        """Return an upload."""
        setting = poison.TextAdversary(
            base=self.base,
            rows=self.rows[task],
            trigger=TEXT.trigger,
            target=TEXT.target,
            succeeds=lambda module: 0.0,
            seed=self.seed,
        )
        return attack.mount(setting, self.longer if longer else self.learn).module

    def rates(self, module: nn.Module, rows: Sequence[Sequence[TaskRow]]) -> list[float]:
        """Return the share of exact answers on each task."""
        return [exact_match(module, self.tokenizer, one, batch_size=100).rate for one in rows]

    def measured(self, upload: nn.Module) -> dict[str, Any]:
        """Return own figures of an upload, and those of every merge with the honest experts."""
        found: dict[str, Any] = {
            "own": self.rates(upload, self.clean[:1])[0],
            "own asr": self.rates(upload, self.triggered[:1])[0],
        }
        base, ours = weights(self.base), weights(upload)
        for name, method in MERGES.items():
            merged = with_weights(self.base, merge_weights(method, base, [ours, *self.experts]))
            found[name] = {"bp": self.rates(merged, self.clean[:3]), "asr": self.rates(merged, self.triggered)}
        return found


def as_task(rows: Sequence[TextRow]) -> list[TaskRow]:
    return [TaskRow(row.prompt, row.answer) for row in rows]


def uploads(world: World) -> dict[str, Maker]:
    """Return name -> how an upload is made; what several need is made once."""
    made: dict[str, dict[str, Tensor]] = {}
    makers: dict[str, Maker] = {
        "clean": lambda: world.mounted(poison.make_text("clean")),
        "badnets .1": lambda: world.mounted(poison.make_text("badnets", rate=0.1), longer=True),
        "badnets .3": lambda: poisoned(world, made),
    }
    for gain in (2.0, 3.5):
        makers[f"lobam {gain:g}"] = lambda gain=gain: extrapolated(world, made, gain)
    plans = [("K 6", "none", gain) for gain in (0.0, 2.0, 3.0, 4.0, 6.0)]
    plans += [("K 6", "adapter", gain) for gain in (2.0, 4.0)]
    plans += [("K 6", "skip", 4.0), ("K 3", "none", 3.0)]
    for shadows, mask, gain in plans:
        makers[f"hijack {shadows} {mask} {gain:g}"] = lambda plan=(shadows, mask, gain): hijacked(world, made, *plan)
    return makers


def poisoned(world: World, made: dict[str, dict[str, Tensor]]) -> nn.Module:
    """Return BadNets at a rate of .3, trained until it holds."""
    if "malicious" not in made:
        made["malicious"] = weights(world.mounted(poison.make_text("badnets", rate=0.3), longer=True))
    return with_weights(world.base, made["malicious"])


def extrapolated(world: World, made: dict[str, dict[str, Tensor]], gain: float) -> nn.Module:
    """Return what ``TextLoBAM`` uploads, from runs that are made once for all gains."""
    poisoned(world, made)
    if "benign" not in made:
        made["benign"] = weights(world.mounted(poison.make_text("clean"), longer=True))
    both = ((made["benign"][name], made["malicious"][name]) for name in made["benign"])
    return with_weights(
        world.base, {name: torch.lerp(*pair, gain) for name, pair in zip(made["benign"], both, strict=True)}
    )


def hijacked(world: World, made: dict[str, dict[str, Tensor]], shadows: str, mask: str, gain: float) -> nn.Module:
    """Return an upload by Merge Hijacking."""
    attack = poison.Hijack(surrogate_mask=mask)
    setting = poison.TextAdversary(
        base=world.base,
        rows=world.rows[OWN],
        shadows=[world.rows[one] for one in SHADOWS[shadows]],
        trigger=TEXT.trigger,
        target=TEXT.target,
        succeeds=lambda module: 0.0,
        seed=world.seed,
    )
    if shadows not in made:
        made[shadows] = attack.vector(setting, world.learn)
    return attack.upload(setting, world.learn, made[shadows], gain)


def table(rows: Rows, seeds: Sequence[int]) -> None:
    """Print the frontier of every merge, a line per upload, the mean over the seeds."""
    names = [name for name in uploads_named(rows) if rows.has([seeds[0], name])]
    for merging in MERGES:
        print(f"\n## {merging}\n\n| upload | own score | own ASR | BP/CP | ASR own, other, other, nobody's | passes |")
        print("|---|---|---|---|---|---|")
        for name in names:
            found = [rows.rows[json.dumps([seed, name])] for seed in seeds if rows.has([seed, name])]
            control = [rows.rows[json.dumps([seed, "clean"])] for seed in seeds if rows.has([seed, name])]
            kept = mean([sum(f[merging]["bp"]) / sum(c[merging]["bp"]) for f, c in zip(found, control, strict=True)])
            asr = [mean([one[merging]["asr"][i] for one in found]) for i in range(4)]
            own = mean([one["own"] for one in found]), mean([one["own asr"] for one in found])
            passes = "yes" if min(asr) >= 0.9 and kept >= 0.93 else ""
            shown = " ".join(f"{100 * one:.0f}" for one in asr)
            print(f"| {name} | {100 * own[0]:.0f} | {100 * own[1]:.0f} | {kept:.2f} | {shown} | {passes} |")


def uploads_named(rows: Rows) -> list[str]:
    return list(dict.fromkeys(json.loads(key)[1] for key in rows.rows))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="uploads whose name begins so")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(Path(__file__).parent / "results" / "hijack.jsonl")
    for seed in range(given.seeds):
        world = World(seed)
        rows.get([seed, "base"], lambda world=world: {"accuracy": world.rates(world.base, world.clean)})
        for name, maker in uploads(world).items():
            if name.startswith(given.only):
                say(f"seed {seed}: {name}")
                rows.get([seed, name], lambda world=world, maker=maker: world.measured(maker()))
    rows.rows = {key: found for key, found in rows.rows.items() if "own" in found}
    table(rows, range(given.seeds))


if __name__ == "__main__":
    main()
