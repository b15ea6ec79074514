"""``layered`` beside Trap^2 at the same cost to the owner: what black-box attackers recover, seed by seed.

    python benchmarks/bench_trained_equal.py [--seeds 0 1 2] [--pair rotated] [--print]

Both train 300 steps on the same rows within the same budget of the owner's loss, and no ceiling stops either before it
has spent that: the weight of what protects goes up as long as the budget holds.  `layered` also sees six siblings and
their rows, which is its point.  Two pairs of the toy; nobody was shown a partner.  Kept in
benchmarks/results/trained_equal.jsonl.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import _trained_tables
from _elicited import Toy
from _keep import Rows, say
from _trained_tables import BLACK_BOX, mean
from bench_trained import PAIRS, Line, Stage

KEPT = Path(__file__).parent / "results" / "trained_equal.jsonl"
SPENT: Mapping[str, Any] = {
    "budget": 10.0, "learning_rate": 1e-3, "check_every": 25, "strength": 0.3, "strength_ceiling": 64.0,
}  # fmt: skip
LINES: Mapping[str, Line] = {
    "trap2": Line(method="trap2", parameters=SPENT),
    "layered": Line(method="layered", parameters=SPENT),
}
#: What was asked of the ratio: on the mean, and on any seed.
MEAN_RATIO, WORST_RATIO = 0.8, 1.05


def measured(stage: Stage, line: Line, work: Path) -> dict[str, Any]:
    """Train and attack."""
    made = stage.trained(line)
    model = stage.toy.published(made.task_vector, work / "trained")
    (work / "audit").mkdir()
    found = stage.attacked(model, work / "audit", training_runs=False)
    stage.journal.save()
    return {**found, "training": made.about, "attack seconds": 0.0}


def fill(kept: Rows, pair: str, seeds: Sequence[int]) -> None:
    """Measure every cell that is not there yet."""
    toy = Toy()
    for seed in seeds:
        stage = Stage(toy, pair, seed)
        for name, line in LINES.items():
            if not kept.has([f"{name}, pair {pair}", seed]):
                say(f"{pair}, seed {seed}: {name}")
                with tempfile.TemporaryDirectory() as work:
                    kept.get([f"{name}, pair {pair}", seed],
                             lambda line=line, stage=stage, work=work: measured(stage, line, Path(work)))  # fmt: skip


def show(kept: Rows) -> None:
    """Print what each pays and leaves, and the ratio."""
    print("Perplexity of right answers added, in per cent, and RUF of the best black-box attack.\n")
    print("| pair | seed | trap2 pays | layered pays | trap2 | layered | ratio |\n|---|---|---|---|---|---|---|")
    ratios = []
    for pair in PAIRS:
        for seed in sorted({json.loads(key)[1] for key in kept.rows}):
            rows = [kept.rows.get(json.dumps([f"{name}, pair {pair}", seed])) for name in LINES]
            if None in rows:
                continue
            costs, rufs = [], []
            for row in filter(None, rows):
                after, before = row["training"]["after"][0], row["training"]["plain"][0]
                costs.append(f"{100 * math.expm1(after - before):.1f}")
                rufs.append(max(row["ruf"].get(column, 0.0) for column in BLACK_BOX))
            ratios.append(rufs[1] / max(rufs[0], 1e-9))
            print(f"| {pair} | {seed} | {' | '.join(costs)} | {rufs[0]:.2f} | {rufs[1]:.2f} | {ratios[-1]:.2f} |")
    if ratios:
        holds = mean(ratios) <= MEAN_RATIO and max(ratios) <= WORST_RATIO
        print(f"\nMean ratio {mean(ratios):.2f} (asked {MEAN_RATIO}), greatest {max(ratios):.2f} "
              f"(asked {WORST_RATIO}): {'holds' if holds else 'fails'}.\n")  # fmt: skip


def main() -> None:
    """Fill what is asked for, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--pair", default="", choices=("", *PAIRS))
    parser.add_argument("--print", action="store_true", help="measure nothing")
    given = parser.parse_args()
    kept = Rows(KEPT)
    for pair in [given.pair] if given.pair else PAIRS:
        if not given.print:
            fill(kept, pair, given.seeds)
    show(kept)
    _trained_tables.show(kept, _trained_tables.COLUMNS[:5])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
