"""What would have to hold for a trained protection to survive attackers who see answers only: a pool of 24 siblings.

    python benchmarks/bench_trained_pool.py [--seeds 0 1 2 3 4] [--pair rotated] [--print]

``layered`` is shown 24 siblings and their rows, searches merges of one coefficient per tensor, and must stay within
its budget; six further experts are held out to look at, and the partner of the pair is seen by nobody.  Success would
be RUF <= .5 under ``smooth`` on every seed within a point of skill.  Kept in benchmarks/results/trained_pool.jsonl.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import _trained_tables
from _elicited import Skill, Toy
from _keep import Rows, say
from bench_trained import PAID, PAIRS, Line, Stage, Trained
from mergebarrier.audit.bench import Blend, spread
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import TaskRow, exact_match, load_module

KEPT = Path(__file__).parent / "results" / "trained_pool.jsonl"
#: Names and functions that no pair has: every name twice, under different functions.
NAMES, FUNCTIONS = (*range(24, 30), *range(36, 44)), (1, 4, 6, 8, 9)
EVERY = [Skill(name, FUNCTIONS[(place + turn) % len(FUNCTIONS)], seed=turn) for turn in (0, 2, 4)
         for place, name in enumerate(NAMES)][:30]  # fmt: skip
POOL, HELD_OUT = EVERY[:24], EVERY[24:]
LINES: Mapping[str, Line] = {
    "decoy base": Line(method="layered", parameters={**PAID, "decoy": "base"}),
    "decoy loss": Line(method="layered", parameters={**PAID, "decoy": "loss", "strength": 0.15}),
    "control": Line(method="layered", parameters=PAID, control=True),
}
_PAIRS = ((1.0, 0.3), (1.0, 0.5), (1.0, 0.7), (0.85, 0.6), (0.7, 0.7), (0.5, 1.0), (0.1, 1.0))


def held_out(stage: Stage, made: Trained) -> list[float]:
    """Return the least skill of the best of a few merges with every expert that was held out."""
    toy = stage.toy
    base = {name: value.detach().clone() for name, value in toy.module.named_parameters()}
    with open_checkpoint(toy.base) as checkpoint:
        live = load_module(checkpoint, "float32")

    def moved(tau: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value + tau[name] if name in tau else value for name, value in base.items()}

    found = []
    for skill in HELD_OUT:
        blend = Blend(live, base=base, protected=moved(made.task_vector), partner=moved(toy.task_vector(skill)))
        rows = [[TaskRow(**row) for row in toy.skill_rows(one, "validation")] for one in (stage.ours, skill)]
        best = 0.0
        for pair in _PAIRS:
            blend.write(spread(pair, blend.names))
            best = max(best, min(exact_match(live, toy.tokenizer, part).rate for part in rows))
        found.append(best)
    return found


def measured(stage: Stage, line: Line, work: Path) -> dict[str, Any]:
    """Train and attack."""
    made = stage.trained(line)
    model = stage.toy.published(made.task_vector, work / "trained")
    (work / "audit").mkdir()
    found = stage.attacked(model, work / "audit", training_runs=False)
    stage.journal.save()
    return {**found, "training": made.about, "held out": held_out(stage, made), "attack seconds": 0.0}


def fill(kept: Rows, pair: str, seeds: Sequence[int], only: str) -> None:
    """Measure every cell that is not there yet."""
    toy = Toy()
    for seed in seeds:
        stage = Stage(toy, pair, seed, POOL)
        for name, line in LINES.items():
            if only in ("", name) and not kept.has([f"{name}, pair {pair}", seed]):
                say(f"{pair}, seed {seed}: {name}")
                with tempfile.TemporaryDirectory() as work:
                    kept.get([f"{name}, pair {pair}", seed],
                             lambda line=line, stage=stage, work=work: measured(stage, line, Path(work)))  # fmt: skip


def main() -> None:
    """Fill what is asked for, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--pair", default="", choices=("", *PAIRS))
    parser.add_argument("--only", default="", help="the line of that name")
    parser.add_argument("--print", action="store_true", help="measure nothing")
    given = parser.parse_args()
    kept = Rows(KEPT)
    for pair in [given.pair] if given.pair else PAIRS:
        if not given.print:
            fill(kept, pair, given.seeds, given.only)
    _trained_tables.show(kept, _trained_tables.COLUMNS[:5])
    print("\nLeast skill at the best of seven merges with each expert that was held out, mean and greatest:\n")
    for name, rows in _trained_tables.lines(kept).items():
        every = [one for row in rows for one in row["held out"]]
        print(f"- {name}: {sum(every) / len(every):.2f}, {max(every):.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
