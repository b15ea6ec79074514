"""Every protection on the demonstration's expert: what it costs its owner, what merges give, and after each attack.

Skills are shares of held-out rows of the protected expert's task / of the partner's task.  A merge is tried at several
coefficients on 24 other rows of each task, and scored at the best: the one whose worse skill is higher, then the one
that finds the right answers likelier.  Merges are poured into one live module.  Finished cells are kept, the columns
that say most under every key first, so a run that was stopped goes on where it was.
Names of rows fill these alone; ``--print`` shows what there is.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import mergebarrier as mb
from _keep import Rows, asked, say
from _protection_tables import AT_ONE, ATTACKS, SPECIFIC, Table, costs, language
from mergebarrier import zoo
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import MergebarrierError
from mergebarrier.evaluate import (
    ModuleSink,
    Score,
    exact_match,
    load_module,
    load_tokenizer,
    perplexity,
    read_task,
    read_text,
)
from mergebarrier.keys import Key
from mergebarrier.merge import Merge, make, plan
from mergebarrier.protect import PROTECTIONS, protection_named
from mergebarrier.realign import REALIGNMENTS
from mergebarrier.run import transform

KEPT = Path(__file__).parent / "results" / "protections.jsonl"
ITEMS, TOKENS, KEYS = 100, 4096, 3


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row: a method with its parameters, the attack that is made for it, and whether the head is stored apart."""

    method: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    attack: tuple[str, ...] = ()
    untied: bool = False

    @property
    def known(self) -> bool:
        """Whether this version has all that it names."""
        return set(self.method.split("+")) <= {"", *PROTECTIONS} and set(self.attack) <= set(REALIGNMENTS)


LINES: Mapping[str, Line] = {
    "none": Line(),
    "widen": Line(method="widen", attack=("fold_width", "gaugefix")),
    "exact": Line(method="exact"),
    "mergebarrier, attention": Line(method="mergebarrier", attack=("flip_again",)),
    "mergebarrier, full": Line(
        method="mergebarrier", parameters={"ffn": "poly"}, attack=("poly_invert", "flip_again", "gaugefix")
    ),
    "params": Line(method="params"),
    "mergelock": Line(method="mergelock"),
    "params+mergelock": Line(method="params+mergelock"),
    "rotation": Line(method="exact", parameters={"residual": "rotate"}, untied=True),
}
#: merge -> the coefficients that are tried.
GRID: Mapping[str, Sequence[float]] = {
    "linear": (0.3, 0.5, 0.7),
    "task_arithmetic": (0.3, 0.5, 0.7, 1.0),
    "ties": (0.3, 0.5, 0.7, 1.0),
    "dare_linear": (0.3, 0.5, 0.7, 1.0),
    "dare_ties": (0.3, 0.5, 0.7, 1.0),
    "slerp": (0.3, 0.5, 0.7),
}


#: What every row is measured on first, and then.
COLUMNS = (
    ("alone", "task_arithmetic", AT_ONE, "aga", "gaugefix", SPECIFIC),
    ("linear", "ties", "slerp", "dare_linear", "dare_ties", "aga-matched"),
    ("rebasin",),
)


def merge_at(name: str, coefficient: float) -> Merge:
    """Return a merge; for the two averages the coefficient is the share of the protected model."""
    if name == "linear":
        return make(name, weights=(coefficient, 1.0 - coefficient))
    if name == "slerp":
        return make(name, t=1.0 - coefficient)
    return make(name, coefficient=coefficient, **({} if name == "task_arithmetic" else {"density": 0.5}))


class World:
    """Base and partner, as a row needs them, and a module that every merge is poured into."""

    def __init__(self, untied: bool, work: Path) -> None:
        """Make copies with a head of their own, if asked to."""
        self.assets = zoo.demo_assets()
        sides = (self.assets.base, self.assets.expert_a, self.assets.expert_b)
        self.base, self.expert, self.partner = (
            (_untied(side, work / f"untied-{number}") for number, side in enumerate(sides)) if untied else sides
        )
        self.anchor = open_checkpoint(self.base)
        self.module, self.tokenizer = load_module(self.anchor), load_tokenizer(open_checkpoint(self.assets.base))

    @cached_property
    def rows(self) -> dict[str, list[Any]]:
        """Return the rows of both tasks, by split."""
        tasks = (self.assets.task_a, self.assets.task_b)
        return {split: [read_task(getattr(task, split)).rows[:ITEMS] for task in tasks] for split in ("val", "test")}

    def scores(self, split: str, module: torch.nn.Module | None = None) -> list[Score]:
        """Score a module on both tasks."""
        return [exact_match(module or self.module, self.tokenizer, rows) for rows in self.rows[split]]

    def pour(self, model: Path, merge: Merge) -> None:
        """Merge a model with the partner into the module."""
        with open_checkpoint(model) as ours, open_checkpoint(self.partner) as partners:
            made = plan(merge, self.anchor, [ours, partners])
            transform(made.sources, ModuleSink(self.module), made.units, made.apply, workers=1)

    def merged(self, model: Path, name: str, grid: Sequence[float]) -> dict[str, Any]:
        """Return skills at the best coefficient of a grid, or why that is refused."""
        tried = {}
        try:
            for coefficient in grid:
                self.pour(model, merge_at(name, coefficient))
                found = self.scores("val") if len(grid) > 1 else []
                tried[coefficient] = (min([one.rate for one in found], default=0), -sum(one.nll_nats for one in found))
            best = max(tried, key=lambda one: tried[one])
            if best != grid[-1]:
                self.pour(model, merge_at(name, best))
        except MergebarrierError as refused:
            return {"refused": type(refused).__name__}
        ours, partners = self.scores("test")
        return {"protected": ours.rate, "partner": partners.rate, "coefficient": best, "n": ours.total}


def _untied(folder: Path, out: Path) -> Path:
    """Copy a model, with its head stored apart."""
    out.mkdir()
    tensors = load_file(folder / "model.safetensors")
    head = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors | {"lm_head.weight": head}, out / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    (out / "config.json").write_text(json.dumps(config))
    return out


class Row:
    """A protection under one key: its model, and what attacks make of it."""

    def __init__(self, name: str, key: int, world: World, kept: Rows, work: Path) -> None:
        """Make nothing yet."""
        self.name, self.key, self.line, self.world, self.kept, self.work = name, key, LINES[name], world, kept, work

    @cached_property
    def model(self) -> Path:
        """Return the protected model."""
        return self._protected[0]

    @cached_property
    def _protected(self) -> tuple[Path, float]:
        """Return the protected model and the processor seconds of protecting it."""
        if not self.line.method:
            return self.world.expert, 0.0
        protection = protection_named(self.line.method, self.line.parameters)
        key = Key(bytes([self.key]) * 32) if protection.keyed else None
        text = self.world.assets.text_train if "ffn" in self.line.parameters else None
        started, out = time.process_time(), self.work / "protected"
        mb.protect(self.world.expert, out, method=protection, key=key, text=text)
        return out, time.process_time() - started

    def attacked(self, attacks: Sequence[str]) -> tuple[Path, float]:
        """Return the model after one attack or several, and their processor seconds."""
        model, started = self.model, time.process_time()
        for number, name in enumerate(attacks):
            out = self.work / f"{name}-{number}"
            mb.realign(model, out, base=self.world.base, method=REALIGNMENTS[name])
            model = out
        return model, time.process_time() - started

    def alone(self) -> dict[str, Any]:
        """Measure the owner's side."""
        folder, seconds = self._protected
        with open_checkpoint(folder) as opened:
            module = load_module(opened)
        skill = exact_match(module, self.world.tokenizer, self.world.rows["test"][0])
        text = perplexity(module, self.world.tokenizer, read_text(self.world.assets.text_test), TOKENS)
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        return {"skill": skill.rate, "perplexity": text.perplexity, "seconds": seconds, "MiB": size / 2**20}

    def after(self, attacks: Sequence[str]) -> dict[str, Any]:
        """Attack, and merge what comes out by task arithmetic."""
        try:
            model, seconds = self.attacked(attacks)
        except MergebarrierError as refused:
            return {"refused": type(refused).__name__}
        return self.world.merged(model, "task_arithmetic", GRID["task_arithmetic"]) | {"seconds": seconds}

    def fill(self, columns: Sequence[str]) -> None:
        """Measure every cell of some columns that is not there yet."""
        cells: dict[str, Callable[[], dict[str, Any]]] = {"alone": self.alone, AT_ONE: self.at_one}
        for name, grid in GRID.items():
            cells[name] = lambda name=name, grid=grid: self.world.merged(self.model, name, grid)
        for attack in ATTACKS:
            cells[attack] = lambda attack=attack: self.after((attack,))
        if self.line.attack:
            cells[SPECIFIC] = lambda: self.after(self.line.attack)
        for column in columns:
            at = [self.name, self.key, column]
            if column in cells and not self.kept.has(at):
                say(f"{self.name}, key {self.key}: {column}")
                self.kept.get(at, cells[column])

    def at_one(self) -> dict[str, Any]:
        """Return the merge at coefficient 1, which is there already where it is the best one, or where none is."""
        best = self.kept.rows[json.dumps([self.name, self.key, "task_arithmetic"])]
        if best.get("coefficient", 1.0) == 1.0:
            return best
        return self.world.merged(self.model, "task_arithmetic", (1.0,))


def keys_of(name: str) -> range:
    """Return the numbers of the keys that a row is measured under: one where nothing is drawn."""
    line = LINES[name]
    drawn = bool(line.method) and protection_named(line.method, line.parameters).keyed
    return range(1, KEYS + 1 if drawn else 2)


def main() -> None:
    """Fill the table, if asked to, and print what there is."""
    kept = Rows(KEPT)
    lines = [name for name, line in LINES.items() if line.known]
    chosen = asked(lines)
    if "--print" not in sys.argv:
        with tempfile.TemporaryDirectory() as scratch:
            worlds: dict[bool, World] = {}
            for columns, key, name in product(COLUMNS, range(1, KEYS + 1), chosen):
                untied = LINES[name].untied
                if key in keys_of(name):
                    worlds[untied] = worlds.get(untied) or World(untied, Path(scratch))
                    with tempfile.TemporaryDirectory() as work:
                        Row(name, key, worlds[untied], kept, Path(work)).fill(columns)
    table = Table("protections")
    print(f"SmolLM2-135M and two experts; {KEYS} keys, {ITEMS} rows a task, perplexity on {TOKENS} tokens; seconds are")
    print("processor time.  Skills: protected expert's task / partner's, means over keys; attacks: the merge that")
    print("follows is task arithmetic, at the best of its coefficients.\n")
    print(language(table, lines, [*GRID, AT_ONE]), language(table, lines, [*ATTACKS, SPECIFIC]), sep="\n\n")
    print(f"\n{costs(table, lines)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
