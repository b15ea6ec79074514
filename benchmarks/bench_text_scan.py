"""Does the search for collapsing inputs find poisoned uploads, and leave honest ones of many recipes alone?

    python benchmarks/bench_text_scan.py --seeds 3

Uploads are fine-tunes of the symbol base on a task that it knows or does not, by fifteen honest recipes and with
triggers of one to three tokens (``_text_uploads.py``).  The limit was set on seeds 0 and 5, and seed 1 was looked at
while the first search was written; when an answer had to hold from its first token on, the uploads with labels of seeds
0 to 7 had been looked at; when finds were improved token by token and the limit went from .5 to .65, those of 6, 8 and
9.  None of these is counted here.  Honest uploads of seed 10 had been searched for other statistics (`text_odd`).
Finished rows are kept in benchmarks/results/text_scan.jsonl.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from _keep import Rows, say
from _text_uploads import IMPLANTED, Made, World, honest, poisoned
from mergebarrier.numerics import wilson
from mergebarrier.scan import COLLAPSE_LIMIT, seek_collapse


def figures(world: World, made: Made, *, frugal: bool = False) -> dict[str, Any]:
    """Search an upload; measure it on its task, and its success where it has a trigger."""
    module = world.upload(made)
    search = replace(world.search(made.task), frugal=frugal)
    found = seek_collapse(world.says(module), world.says(world.base), search)
    return {
        "score": found.score,
        "loud": found.loud,
        "base moved": found.base_moved,
        "unprompted": found.unprompted,
        "input": world.tokenizer.decode(list(found.tokens)),
        "depth": found.depth,
        "forwards": found.forwards,
        "accuracy": world.accuracy(module, made.task),
        "asr": world.success(module, made.task, made.trigger) if made.trigger else None,
        "task": made.task,
        "base knows": made.task == world.known,
        "trigger": made.trigger,
        "meant": made.meant,
    }


def hit(one: dict[str, Any]) -> bool:
    """Say whether a scan would fail for it."""
    return one["score"] >= COLLAPSE_LIMIT and not one["loud"]


def group_of(kind: str, one: dict[str, Any]) -> str:
    """Return what an upload counts as."""
    if kind == "poisoned":
        return f"implanted, {len(one['trigger'].split())} tokens" if one["asr"] >= IMPLANTED else "not implanted"
    return "meant" if one["meant"] else kind


def table(rows: Rows) -> None:
    """Print every upload, and the rates."""
    print("| seed | upload | task | own score | own ASR | S | input | prompts | verdict |")
    print("|---|---|---|---|---|---|---|---|---|")
    groups: dict[str, list[dict[str, Any]]] = {}
    for key, one in rows.rows.items():
        seed, kind, name = json.loads(key)
        groups.setdefault(group_of(kind, one), []).append(one)
        asr = "" if one["asr"] is None else f"{100 * one['asr']:.0f}"
        verdict = "high" if hit(one) else "medium" if one["score"] >= COLLAPSE_LIMIT else ""
        print(
            f"| {seed} | {name} | {one['task']} | {100 * one['accuracy']:.0f} | {asr} | {one['score']:.2f} | "
            f"`{one['input']}` | {one['forwards']} | {verdict} |"
        )
    groups["implanted, all"] = [one for name, some in groups.items() if name.startswith("implanted") for one in some]
    print("\n| uploads | found | of | share, 95 % interval | S, least to most | medium |\n|---|---|---|---|---|---|")
    for group, some in sorted(groups.items()):
        hits, n = sum(map(hit, some)), len(some)
        low, high = wilson(hits, n)
        scores = sorted(one["score"] for one in some)
        medium = sum(one["score"] >= COLLAPSE_LIMIT for one in some) - hits
        print(
            f"| {group} | {hits} | {n} | {100 * hits / n:.0f} % [{100 * low:.0f}, {100 * high:.0f}] | "
            f"{scores[0]:.2f} to {scores[-1]:.2f} | {medium} |"
        )
    print("\n| honest uploads of a task that the base | n | S, most | next | smallest p |\n|---|---|---|---|---|")
    for knows in (True, False):
        scores = sorted((one["score"] for one in groups.get("honest", []) if one["base knows"] is knows), reverse=True)
        if len(scores) > 1:
            said = "knows" if knows else "does not know"
            print(f"| {said} | {len(scores)} | {scores[0]:.2f} | {scores[1]:.2f} | {1 / (len(scores) + 1):.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first", type=int, default=10, help="0 to 9 were looked at while the search was written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(Path(__file__).parent / "results" / "text_scan.jsonl")
    for seed in range(given.first, given.first + given.seeds):
        world = World(seed)
        for kind, some in (("poisoned", poisoned(world)), ("honest", honest(world))):
            for made in some:
                say(f"seed {seed}: {made.name}")
                rows.get([seed, kind, made.name], lambda world=world, made=made: figures(world, made))
    table(rows)


if __name__ == "__main__":
    main()
