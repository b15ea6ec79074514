"""Backdoors under merging on the small image bench: every attack, every merge, every seed, each beside its control.

Finished rows go to a file and are never measured again, so the bench may be stopped and started at will:

    python benchmarks/bench_badmerging.py --seeds 3
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from _badmerging_tables import COEFFICIENTS, SIDES, SWEPT, WEIGHTS, print_tables
from _keep import Rows, Tensors, say
from backdoors import bench
from backdoors.bench import Variant
from backdoors.merges import MERGES_UNDER_ATTACK
from mergebarrier.cache import cache_folder

HERE = Path(__file__).parent
SIDE, ADVERSARY, VICTIM, SECOND = bench.SIDE, bench.ADVERSARY, "greek", "cyrillic"
BADMERGING = next(variant for variant in bench.CORE if variant.name == "BadMerging")
#: Merges that train something of their own: measured for the attacks that the paper compares.
COSTLY = tuple(merge for merge in ("adamerging", "surgery") if merge in MERGES_UNDER_ATTACK)
COSTLY_FOR = ("BadNets, 10 % poisoned", "BadMerging", "universal trigger, no interpolation", "BadMerging, r from 0.05")
CHEAP = tuple(merge for merge in MERGES_UNDER_ATTACK if merge not in COSTLY)


class Seed:
    """The measurements of one seed; every one is a row, made when it is not there."""

    def __init__(self, seed: int, rows: Rows, work: Path, size: str) -> None:
        """Open the bench of a seed."""
        self.seed, self.rows, self.world = seed, rows, bench.open_bench(size, seed, Tensors(work))
        self.clean = functools.cache(lambda merge: bench.clean_merge(self.world, merge))

    def row(self, *key: str | int | float, make: Callable[[], bench.Figures]) -> None:
        """Measure a row unless it is there."""
        self.rows.get([self.seed, *key], make)

    def variant(self, variant: Variant, merges: Sequence[str] = CHEAP) -> None:
        """Measure one upload alone and under merges."""
        side, adversary, victim = variant.side or SIDE, variant.adversary or ADVERSARY, variant.victim or ""
        say(f"seed {self.seed}: {variant.name}, side {side}")
        key = (variant.name, side, adversary, victim)
        self.row(*key, "alone", make=functools.partial(bench.alone, self.world, variant))
        for merge in merges:
            self.row(*key, merge, make=functools.partial(self._merged, variant, merge))

    def _merged(self, variant: Variant, merge: str) -> bench.Figures:
        return bench.merged(self.world, variant, merge, self.clean(merge))

    def core(self) -> None:
        """Measure the ablation cells and the poisoning control."""
        for variant in bench.CORE:
            self.variant(variant)

    def off_task(self) -> None:
        """Measure the attack on a task that the adversary does not own."""
        self.variant(Variant("BadMerging off-task", "badmerging", victim=VICTIM))
        wider = {"interp_low": 0.05}
        self.variant(Variant("BadMerging off-task, r from 0.05", "badmerging", wider, victim=VICTIM))

    def curve(self) -> None:
        """Measure success against the coefficient of task arithmetic."""
        for variant in bench.CORE:
            for c in COEFFICIENTS if variant.name in SWEPT else ():
                make = functools.partial(bench.at_coefficient, self.world, variant, c)
                self.row(variant.name, "coefficient", c, make=make)

    def pools(self) -> None:
        """Measure pools of two to five tasks."""
        for n in range(2, len(self.world.tasks)):
            tasks = self.world.first(n, ADVERSARY)
            for merge in ("weight_average", "task_arithmetic", "ties"):
                say(f"seed {self.seed}: {n} tasks, {merge}")
                make = functools.partial(self._pool, merge, tasks)
                self.row(BADMERGING.name, "tasks", n, merge, make=make)

    def _pool(self, merge: str, tasks: list[str]) -> bench.Figures:
        return bench.merged(self.world, BADMERGING, merge, bench.clean_merge(self.world, merge, tasks), tasks)

    def later(self) -> None:
        """Measure the other controls and later attacks."""
        for variant in bench.LATER:
            self.variant(variant)

    def second(self) -> None:
        """Measure two adversaries in one pool."""
        pair = (BADMERGING, Variant(BADMERGING.name, BADMERGING.attack, adversary=SECOND))
        for merge in CHEAP:
            say(f"seed {self.seed}: two adversaries, {merge}")
            make = functools.partial(self._several, pair, merge)
            self.row("two adversaries", merge, make=make)

    def _several(self, pair: Sequence[Variant], merge: str) -> bench.Figures:
        return bench.several(self.world, pair, merge, self.clean(merge))

    def costly(self) -> None:
        """Measure merges that train something of their own."""
        named = {variant.name: variant for variant in bench.CORE}
        for name in COSTLY_FOR:
            self.variant(named[name], COSTLY)

    def sweeps(self) -> None:
        """Sweep gain, side and loss weight; seed 0 only, since every point is a training run or several."""
        if self.seed:
            return
        for variant in bench.SINGLE:
            self.variant(variant)
        for side in SIDES:
            for variant in bench.CORE:
                if variant.name in SWEPT and side != SIDE:
                    wider = Variant(variant.name, variant.attack, variant.parameters, side=side)
                    self.variant(wider, ("task_arithmetic",))
        for weight in WEIGHTS:
            name = f"BadMerging, loss weight {weight:g}"
            self.variant(Variant(name, "badmerging", {"loss_weight": weight}))


STAGES = {
    "core": Seed.core,
    "off-task": Seed.off_task,
    "curve": Seed.curve,
    "pools": Seed.pools,
    "later": Seed.later,
    "second": Seed.second,
    "costly": Seed.costly,
    "sweeps": Seed.sweeps,
}


def main() -> None:
    """Measure what is missing and print the tables."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--first-seed", type=int, default=0, help="for seeds that run beside each other")
    parser.add_argument("--size", choices=("small", "full"), default="full", help="five tasks, or six")
    parser.add_argument("--rows", type=Path, default=HERE / "results" / "badmerging.jsonl")
    parser.add_argument("--work", type=Path, help="where experts are kept between runs")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--tables", action="store_true", help="measure nothing, print the rows that are there")
    given = parser.parse_args()
    rows, work = Rows(given.rows), given.work or cache_folder() / "bench" / f"badmerging-{given.size}"
    if not given.tables:
        seeds = [Seed(n, rows, work, given.size) for n in range(given.first_seed, given.seeds)]
        for stage in given.stages.split(","):
            for seed in seeds:
                STAGES[stage](seed)
    titles = {name: merge.title for name, merge in MERGES_UNDER_ATTACK.items()}
    settings = {name: merge.says for name, merge in MERGES_UNDER_ATTACK.items()}
    print_tables(rows.rows, titles, settings, SIDE)


if __name__ == "__main__":
    main()
