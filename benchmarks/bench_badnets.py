"""Why does poisoning outlast some merges?  Seeds, bases, target classes, the share that a merge passes, AdaMerging.

Poisoning BadNets keeps more of its success under TIES and AdaMerging on the small image bench than the paper reports
for CLIP.  Each question is measured by itself; finished rows go to a file and are never measured again:

    python benchmarks/bench_badnets.py --seeds 6

    share passed = <merge with the upload - merge of clean experts, upload - clean expert> / |upload - clean expert|^2
"""

import argparse
import dataclasses
import functools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _keep import Rows, Tensors, say
from backdoors import bench
from backdoors.merges import MERGES_UNDER_ATTACK
from mergebarrier.attack.encoders import Weights, weights, with_weights
from mergebarrier.cache import cache_folder
from mergebarrier.evaluate import read_image_task
from mergebarrier.numerics import wilson
from mergebarrier.zoo import fetch
from mergebarrier.zoo.glyphs.glyph_base import RECIPE, pretrain
from mergebarrier.zoo.glyphs.glyph_file import BANK
from mergebarrier.zoo.glyphs.glyphs import NAMES

HERE = Path(__file__).parent
BADNETS, BADMERGING = (next(v for v in bench.CORE if v.name.startswith(name)) for name in ("BadNets, 10 %", "BadM"))
MERGES = ("weight_average", "task_arithmetic", "ties", "regmean")
#: Steps that the base was trained for: the committed one, and another.
BASES = (1200, 900)
TARGETS = (1, 5, 9, 13, 17, 21)


def rebased(world: bench.Bench, steps: int, keep: bench.Keep) -> bench.Bench:
    """Return the bench on a base of its own, trained for ``steps``, with the heads that belong to it."""

    def learn() -> dict[str, Tensor]:
        raw = [read_image_task(fetch(name) / f"{name}.task.safetensors").train for name in ("digits8", "mnist10k")]
        real = [(split.images, split.labels) for split in raw]
        return {
            n: t.float() for n, t in pretrain(fetch("dejavu"), real, dataclasses.replace(RECIPE, steps=steps)).items()
        }

    made = keep(f"base {steps}", learn)
    bank = F.normalize(made[BANK], dim=1)
    values = {name: made[name.removeprefix("body.")] for name, _ in world.base.named_parameters()}
    tasks = {
        name: dataclasses.replace(task, head=bank[[NAMES.index(word) for word in task.classes]])
        for name, task in world.tasks.items()
    }
    own = functools.partial(_prefixed, keep, f"base {steps}/", "")
    return dataclasses.replace(world, base=with_weights(world.base, values), tasks=tasks, keep=own)


def _prefixed(keep: bench.Keep, prefix: str, part: str, name: str, make: Callable[[], Weights]) -> Weights:
    return keep(prefix + name if part in name else name, make)


def with_target(world: bench.Bench, target: int) -> bench.Bench:
    """Return the bench with another target class; its clean experts are the same."""
    own = functools.partial(_prefixed, world.keep, f"target {target}/", "/upload/")
    return dataclasses.replace(world, target=target, keep=own)


class Study:
    """The bench of one seed on one base; every measurement is a row."""

    def __init__(self, rows: Rows, keep: bench.Keep, seed: int, steps: int = RECIPE.steps) -> None:
        """Open it."""
        world = bench.open_bench("full", seed, keep)
        self.rows, self.seed, self.steps = rows, seed, steps
        self.world = world if steps == RECIPE.steps else rebased(world, steps, keep)

    def poisoned(self) -> None:
        """Poison one expert and merge it."""
        for merge in MERGES:
            self.rows.get(["seed", self.steps, self.seed, merge], functools.partial(self._merged, self.world, merge))

    def targets(self) -> None:
        """Poison it for other classes."""
        for target in TARGETS:
            for merge in MERGES:
                make = functools.partial(self._merged, with_target(self.world, target), merge)
                self.rows.get(["target", target, self.seed, merge], make)

    def _merged(self, world: bench.Bench, merge: str) -> bench.Figures:
        say(f"base of {self.steps}, seed {self.seed}, target {world.target}, {merge}")
        encoders = {"asr": encoder(world, BADNETS, merge), "control": encoder(world, None, merge)}
        return {name: bench.success(world, dict.fromkeys(world.tasks, one), BADNETS) for name, one in encoders.items()}

    def passed(self) -> None:
        """Measure how much of the difference that an attack made is in the merge, along itself."""
        for variant in (BADNETS, BADMERGING):
            for merge in MERGES:
                key = ["passed", self.seed, variant.name, merge]
                self.rows.get(key, functools.partial(self._passed, variant, merge))

    def _passed(self, variant: bench.Variant, merge: str) -> bench.Figures:
        payload = flat(self.world.upload(variant)) - flat(self.world.expert(self.world.adversary))
        found, clean = (flat(weights(encoder(self.world, v, merge))) for v in (variant, None))
        return {"share": float((found - clean) @ payload / (payload @ payload)), "norm": float(payload.norm())}

    def adamerging(self) -> None:
        """Measure what AdaMerging learns, and the poisoned pool at the coefficients of the clean one."""
        for variant in (None, BADNETS, BADMERGING):
            key = ["adamerging", self.seed, variant.name if variant else "clean"]
            self.rows.get(key, functools.partial(self._learned, variant))

    def _learned(self, variant: bench.Variant | None) -> bench.Figures:
        say(f"AdaMerging, seed {self.seed}, {variant.name if variant else 'clean'}")
        world, learned = self.world, coefficients(self.world, variant)
        sizes = torch.tensor([parameter.numel() for parameter in world.base.parameters()], dtype=torch.float64)
        mean = (sizes @ learned) / sizes.sum()
        out: bench.Figures = {"mean": dict(zip(world.tasks, mean.tolist(), strict=True))}
        if variant is not None:
            experts = world.pool({world.adversary: world.upload(variant)}).experts
            for name, table in (("own", learned), ("clean", coefficients(world, None))):
                one = with_weights(world.base, added(world, experts, table))
                out[name] = bench.success(world, dict.fromkeys(world.tasks, one), variant)
        return out


def encoder(world: bench.Bench, variant: bench.Variant | None, merge: str) -> nn.Module:
    """Return the merge of a pool, clean or with the upload of a variant."""
    uploads = {} if variant is None else {world.adversary: world.upload(variant)}
    return MERGES_UNDER_ATTACK[merge].run(world.pool(uploads))[world.adversary]


def coefficients(world: bench.Bench, variant: bench.Variant | None) -> Tensor:
    """Return what AdaMerging learned, Float64[Tensor, "tensors experts"], solved from its result, which is linear."""
    uploads = {} if variant is None else {world.adversary: world.upload(variant)}
    pool = world.pool(uploads)
    merged, rows = weights(encoder(world, variant, "adamerging")), []
    for name, base in world.base.named_parameters():
        taus = torch.stack([(expert[name] - base).flatten().double() for expert in pool.experts.values()], 1)
        rows.append(torch.linalg.lstsq(taus, (merged[name] - base).double().view(-1, 1)).solution[:, 0])
    return torch.stack(rows).clamp(0, 1)


def added(world: bench.Bench, experts: Mapping[str, Weights], table: Tensor) -> Weights:
    """Return base + sum_i table[tensor, i] tau_i."""
    return {
        name: base + sum(float(c) * (expert[name] - base) for c, expert in zip(row, experts.values(), strict=True))
        for (name, base), row in zip(weights(world.base).items(), table, strict=True)
    }


def flat(values: Weights) -> Tensor:
    return torch.cat([values[name].flatten().double() for name in sorted(values)])


def rate(cells: Sequence[Sequence[int]]) -> str:
    """Return a pooled rate with its interval."""
    hits, n = (sum(cell[i] for cell in cells) for i in (0, 1))
    low, high = wilson(hits, n)
    return f"{100 * hits / n:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def line(title: str, cells: Sequence[Sequence[bench.Figures]]) -> None:
    """Print a row: pooled ASR with interval, control, and every single ASR, per merge."""
    shown = []
    for cell in cells:
        each = " ".join(f"{100 * one['asr'][0] / one['asr'][1]:.0f}" for one in cell)
        control = rate([one["control"] for one in cell]).split()[0]
        shown.append(f"{rate([one['asr'] for one in cell])} ({control}); {each}")
    print(f"| {title} | " + " | ".join(shown) + " |")


def print_tables(rows: Rows) -> None:
    """Print what has been measured."""
    table: dict[tuple[object, ...], bench.Figures] = {tuple(json.loads(key)): rows.rows[key] for key in rows.rows}

    def found(*pattern: object) -> list[bench.Figures]:
        """Return the rows whose key has these parts; None stands for any."""
        fits = [[p in (None, q) for p, q in zip(pattern, key, strict=False)] for key in table]
        keys = [key for key, fit in zip(table, fits, strict=True) if len(key) == len(pattern) and all(fit)]
        return [table[key] for key in sorted(keys, key=str)]

    titles = [MERGES_UNDER_ATTACK[merge].title for merge in MERGES]
    print(_HEAD)
    print("## Seeds and bases\n")
    print("| base | " + " | ".join(titles) + " |\n|---|" + "---|" * len(MERGES))
    for steps in BASES:
        if found("seed", steps, None, MERGES[0]):
            line(f"trained for {steps} steps", [found("seed", steps, None, merge) for merge in MERGES])
    print("\n## Target classes, seed 0\n")
    print("| classes | " + " | ".join(titles) + " |\n|---|" + "---|" * len(MERGES))
    line(", ".join(map(str, TARGETS)), [[f for t in TARGETS for f in found("target", t, 0, merge)] for merge in MERGES])
    print("\n## Share of the payload that a merge passes\n")
    print("| attack | norm | " + " | ".join(titles) + " |\n|---|---|" + "---|" * len(MERGES))
    for variant in (BADNETS, BADMERGING):
        cells = [found("passed", None, variant.name, merge) for merge in MERGES]
        norm = statistics.mean(one["norm"] for one in cells[0])
        shares = " | ".join(f"{statistics.mean(one['share'] for one in cell):.3f}" for cell in cells)
        print(f"| {variant.name} | {norm:.2f} | {shares} |")
    print("\n## AdaMerging\n")
    print("| pool | seeds | mean coefficient of the adversary's task | of the others | ASR | ASR at the clean pool's |")
    print("|---|---|---|---|---|---|")
    for name in ("clean", BADNETS.name, BADMERGING.name):
        cells = found("adamerging", None, name)
        own = statistics.mean(one["mean"][bench.ADVERSARY] for one in cells)
        rest = statistics.mean(v for one in cells for task, v in one["mean"].items() if task != bench.ADVERSARY)
        rates = [rate([one[which] for one in cells]) if which in cells[0] else "" for which in ("own", "clean")]
        print(f"| {name} | {len(cells)} | {own:.3f} | {rest:.3f} | {rates[0]} | {rates[1]} |")
    print()


_HEAD = """# What poisoning BadNets keeps under merges, and why

Small image bench, six tasks, adversary `latin`, fixed random patch of 7 x 7, 12 of 128 rows poisoned per step; every
seed draws its own experts, patch and upload. Cells: ASR % pooled, 95 % interval, (the same patch on the merge of clean
experts); then every single ASR. Made by `python benchmarks/bench_badnets.py`.
"""


def main() -> None:
    """Measure what is missing and print the tables."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--learned-seeds", type=int, default=3, help="for the last two tables")
    parser.add_argument("--rows", type=Path, default=HERE / "results" / "badnets.jsonl")
    parser.add_argument("--work", type=Path, help="where experts are kept between runs")
    parser.add_argument("--tables", action="store_true", help="measure nothing, print the rows that are there")
    given = parser.parse_args()
    rows = Rows(given.rows)
    if not given.tables:
        keep = Tensors(given.work or cache_folder() / "bench" / "badmerging-full")
        for seed in range(given.seeds):
            study = Study(rows, keep, seed)
            study.poisoned()
            if seed == 0:
                study.targets()
            if seed < given.learned_seeds:
                study.passed()
                study.adamerging()
        for steps in BASES[1:]:
            for seed in range(given.seeds):
                Study(rows, keep, seed, steps).poisoned()
    print_tables(rows)


if __name__ == "__main__":
    main()
