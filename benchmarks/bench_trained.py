"""Trained protections against every attacker of the audit, on the toy of elicited skills.

    python benchmarks/bench_trained.py [--seeds 0 1 2] [--only LINE] [--print]

Each line protects expert A, merges it with an expert B that the training never saw, and asks the ladder's own searches
for the best merge.  RUF is what the attacker recovers of the unprotected merge; its headline is the worst seed.
Finished cells are kept in benchmarks/results/trained.jsonl and never measured again.
"""

import argparse
import pickle
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import _trained_tables
import mergebarrier as mb
from _attacked import attacked
from _elicited import Skill, Toy
from _keep import Rows, say
from mergebarrier import symmetry
from mergebarrier.audit import AuditSpec
from mergebarrier.audit.bench import published
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.evaluate import load_module
from mergebarrier.keys import Key
from mergebarrier.protect import SIBLING_ROWS, TRAINED, TrainedProtection, protection_named
from mergebarrier.realign import REALIGNMENTS
from mergebarrier.results import Cell, Measurement
from mergebarrier.training import (
    FullRecipe,
    FullVector,
    OwnersBudget,
    ProtectiveRecipe,
    ProtectiveState,
    TextLearner,
    train_protective,
)

KEPT = Path(__file__).parent / "results" / "trained.jsonl"
#: (protected, partner): names and functions; the seed is that of the run.
PAIRS: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "rotated": ((30, 0), (32, 5)),
    "other": ((35, 2), (32, 5)),
}
#: Skills of the siblings that a training may see; none shares a name or a function with a pair.
POOL = tuple(Skill(36 + place, function) for place, function in enumerate((1, 4, 6, 8, 9, 6)))
STEPS = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """A row of the table: a method with its parameters, what is done to it before it is merged."""

    method: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    control: bool = False
    lock: bool = False
    attack: str = ""
    like: str = ""


#: What the owner may lose while it trains; what was lost is in the table.
PAID: Mapping[str, Any] = {"budget": 10.0, "learning_rate": 1e-3}
LINES: Mapping[str, Line] = {
    "none": Line(),
    "trap2": Line(method="trap2", parameters={**PAID, "strength": 0.15}),
    "layered, decoy loss": Line(method="layered", parameters={**PAID, "strength": 0.15, "decoy": "loss"}),
    "matched control": Line(method="layered", parameters=PAID, control=True),
    "arf": Line(
        method="arf",
        parameters={"margin": 0.5, "budget": 100.0, "check_every": STEPS, "strength": 3.0, "learning_rate": 2e-3},
    ),
    "arf + lock": Line(like="arf", lock=True),
    "arf + lock, aga": Line(like="arf", lock=True, attack="aga"),
    "arf + lock, gaugefix": Line(like="arf", lock=True, attack="gaugefix"),
    "mergeguard, beta 1": Line(method="mergeguard", parameters={**PAID, "beta": 1.0}),
    "mergeguard, beta 2": Line(method="mergeguard", parameters={**PAID, "beta": 2.0}),
    "layered": Line(method="layered", parameters=PAID),
    "layered, gaugefix": Line(like="layered", attack="gaugefix"),
}


class Kept:
    """A journal of finished cells beside the toy, so that the unprotected pair is attacked once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Cell | Measurement] = pickle.loads(path.read_bytes()) if path.exists() else {}

    def save(self) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(pickle.dumps(self.rows))
        fresh.rename(self.path)

    def find(self, row_id: str) -> Cell | Measurement | None:
        return self.rows.get(row_id)

    def add(self, row: Cell | Measurement) -> None:
        self.rows[row.row_id] = row

    @property
    def used(self) -> list[Cell | Measurement]:
        return list(self.rows.values())


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A task vector that was trained, and what is said of it."""

    task_vector: dict[str, torch.Tensor]
    about: dict[str, Any]


class Stage:
    """One pair of one seed."""

    def __init__(self, toy: Toy, pair: str, seed: int, pool: Sequence[Skill] = POOL) -> None:
        """Make the experts."""
        self.toy, self.seed, self.pool = toy, seed, pool
        self.ours, self.theirs = (Skill(word, function, seed) for word, function in PAIRS[pair])
        self.journal = Kept(toy.root / f"journal-{pair}-{seed}.pickle")
        self._made: dict[Line, Trained] = {}

    def state(self, strength: float) -> ProtectiveState:
        """Return the start of a training: the expert, its rows, siblings and their rows."""
        with open_checkpoint(self.toy.base) as base:
            module, circuits = load_module(base, "float32"), describe(base).circuits
            tensors = {name: base.read(name) for name in base.tensors}
        parts = {split: self.toy.examples(self.toy.skill_rows(self.ours, name))
                 for split, name in (("task", "train"), ("validation", "validation"))}  # fmt: skip
        parts["text"] = self.toy.text
        for place, skill in enumerate(self.pool):
            parts[SIBLING_ROWS.format(place)] = self.toy.examples(self.toy.skill_rows(skill, "train"))
        vector = FullVector(self.toy.task_vector(self.ours))
        siblings = [self.toy.task_vector(skill) for skill in self.pool]
        state = ProtectiveState(TextLearner(module, parts), vector, siblings, strength=strength)
        state.far = symmetry.distances_from(circuits, tensors)
        return state

    def trained(self, line: Line) -> Trained:
        """Run a method, once."""
        if line not in self._made:
            self._made[line] = self._trained(line)
        return self._made[line]

    def _trained(self, line: Line) -> Trained:
        method: TrainedProtection = TRAINED[line.method](steps=STEPS, **line.parameters)
        state = self.state(0.0 if line.control else method.strength)
        started = time.process_time()
        method.begin(state, torch.Generator().manual_seed(self.seed))
        plain = FullRecipe(steps=STEPS, learning_rate=method.learning_rate, weight_decay=0.0, warmup_steps=10,
                           batch_size=16, seed=self.seed)  # fmt: skip
        budget = OwnersBudget(share=method.budget / 100, every=method.check_every, ceiling=method.strength_ceiling)
        recipe = ProtectiveRecipe(optimiser=plain, text_rows=16, budget=budget)
        outcome = train_protective(state, method.objective, recipe)
        edited = method.finish(state, outcome.plain.loss + budget.share)
        reached = {name: float(value.detach()) for name, value in state.distances().items()}
        about = {
            "seconds": time.process_time() - started,
            "strength": outcome.strength,
            "met": outcome.met,
            "step": outcome.good_step,
            "tokens": [state.tokens_read, state.tokens_learned],
            "reached": min(reached.values()),
            "plain": [outcome.plain.loss, outcome.plain.text],
            "after": [outcome.protected.loss, outcome.protected.text],
        }
        found = state.task_vector() if edited is None else edited.tau
        return Trained(task_vector={name: value.detach().clone() for name, value in found.items()}, about=about)

    def spec(self, protected: Path, work: Path, *, training_runs: bool) -> AuditSpec:
        """Return how hard the attackers try; without training runs, those of level 6 are left out."""
        files = {split: [self.toy.file(skill, split) for skill in (self.ours, self.theirs)]
                 for split in ("test", "validation")}  # fmt: skip
        return AuditSpec(
            protected=protected, original=self.toy.expert(self.ours), base=self.toy.base,
            partner=self.toy.expert(self.theirs), task=files["test"][0], partner_task=files["test"][1],
            validation=files["validation"][0], partner_validation=files["validation"][1], work=work,
            settings=published(("task_arithmetic", "ties", "dare_linear"), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
            levels=(0, 1, 2, 3, 4, 5, 6), search_budget=60, smooth_evaluations=300, edit_evaluations=6,
            learn_steps=60, recover_samples=1000 * training_runs, search_items=48, dtype="float32", seed=self.seed,
        )  # fmt: skip

    def attacked(self, protected: Path, work: Path, *, training_runs: bool = True) -> dict[str, Any]:
        """Let every attacker try."""
        return attacked(self.spec(protected, work, training_runs=training_runs), self.journal)


def measured(stage: Stage, line: Line, work: Path) -> dict[str, Any]:
    """Train, lock, attack and merge."""
    about: dict[str, Any] = {}
    model = stage.toy.expert(stage.ours)
    trains = LINES[line.like] if line.like else line
    if trains.method:
        made = stage.trained(trains)
        about, model = made.about, stage.toy.published(made.task_vector, work / "trained")
    if line.lock:
        mb.protect(model, work / "locked", method=protection_named("exact", {}), key=Key(bytes([stage.seed + 1]) * 32))
        model = work / "locked"
    if line.attack:
        mb.realign(model, work / "attacked", base=stage.toy.base, method=REALIGNMENTS[line.attack])
        model = work / "attacked"
    (work / "audit").mkdir()
    started = time.process_time()
    found = stage.attacked(model, work / "audit")
    stage.journal.save()
    return {**found, "training": about, "attack seconds": time.process_time() - started}


def fill(kept: Rows, seeds: Sequence[int], only: str) -> None:
    """Measure every cell that is not there yet."""
    toy = Toy()
    for seed in seeds:
        stage = Stage(toy, "rotated", seed)
        for name, line in LINES.items():
            if only in ("", name) and not kept.has([name, seed]):
                say(f"seed {seed}: {name}")
                with tempfile.TemporaryDirectory() as work:
                    kept.get([name, seed], lambda line=line, stage=stage, work=work: measured(stage, line, Path(work)))


def main() -> None:
    """Fill what is asked for, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="the line of that name")
    parser.add_argument("--print", action="store_true", help="measure nothing")
    given = parser.parse_args()
    kept = Rows(KEPT)
    if not given.print:
        fill(kept, given.seeds, given.only)
    _trained_tables.show(kept)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
