"""Does the frugal search, as it is made of real vocabularies, find what the whole search finds, and flag no more?

    python benchmarks/run.py text_frugal

The uploads of `text_scan`, each searched once more with fewer prompts: single tokens in 12 instead of 20, longer
strings in 2 and the best quarter of them in 6 instead of all in 6.  These numbers were chosen on the poisoned uploads
of seeds 6, 7 and 9; seed 11 had been looked at when a token that seems loud in 12 prompts was put into all 20.
Finished rows are kept in benchmarks/results/text_frugal.jsonl.
"""

import json
from pathlib import Path

import torch

from _keep import Rows, say
from _text_uploads import World, honest, poisoned
from bench_text_scan import figures, group_of, hit
from mergebarrier.numerics import wilson

SEEDS = (10, 11, 12)


def main() -> None:
    torch.set_num_threads(1)
    results = Path(__file__).parent / "results"
    whole, rows = Rows(results / "text_scan.jsonl"), Rows(results / "text_frugal.jsonl")
    for seed in SEEDS:
        world = World(seed)
        for kind, some in (("poisoned", poisoned(world)), ("honest", honest(world))):
            for made in some:
                say(f"seed {seed}: {made.name}")
                rows.get([seed, kind, made.name], lambda world=world, made=made: figures(world, made, frugal=True))
    groups: dict[str, list[str]] = {}
    print("| seed | upload | S, whole | S, frugal | prompts, whole | prompts, frugal |\n|---|---|---|---|---|---|")
    for key, one in rows.rows.items():
        (seed, kind, name), other = json.loads(key), whole.rows[key]
        groups.setdefault(group_of(kind, one), []).append(key)
        prompts = f"{other['forwards']} | {one['forwards']}"
        print(f"| {seed} | {name} | {other['score']:.2f} | {one['score']:.2f} | {prompts} |")
    groups["implanted, all"] = [key for name, some in groups.items() if name.startswith("implanted") for key in some]
    print("\n| uploads | of | found, whole | found, frugal | share, 95 % interval | prompts, whole | prompts, frugal |")
    print("|---|---|---|---|---|---|---|")
    for group, keys in sorted(groups.items()):
        n, (before, now) = len(keys), ([table.rows[key] for key in keys] for table in (whole, rows))
        low, high = wilson(sum(map(hit, now)), n)
        share = f"{100 * sum(map(hit, now)) / n:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
        prompts = " | ".join(f"{sum(one['forwards'] for one in some) / n:.0f}" for some in (before, now))
        print(f"| {group} | {n} | {sum(map(hit, before))} | {sum(map(hit, now))} | {share} | {prompts} |")


if __name__ == "__main__":
    main()
