"""Is a trigger that is alive in a merge found there, are honest merges left alone, and is the right upload named?

    python benchmarks/bench_text_merges.py --seeds 3

Every poisoned upload of ``_text_uploads.py`` is merged with two honest ones, by several merges; a merge counts as alive
where triggered prompts of the upload's task get the target in 30 % more cases than plain ones.  Merges where it sleeps
are counted and not searched.  Honest merges take one of four other honest uploads in its place.  Finished rows are kept
in benchmarks/results/text_merges.jsonl.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from _keep import Rows, say
from _text_uploads import Made, World, honest, poisoned
from mergebarrier.attack.encoders import merge_weights, weights, with_weights
from mergebarrier.merge import Merge, make
from mergebarrier.numerics import wilson
from mergebarrier.scan import COLLAPSE_LIMIT, seek_collapse, trace

ALIVE = 0.3
PARTNERS = ("attention", "LoRA of all, new task")
OTHERS = ("all maps", "twice its vector", "several tasks", "wrong labels, a fifth")
MERGES = {
    "two thirds of it": make("task_arithmetic", weights=(2 / 3, 1 / 6, 1 / 6), coefficient=1.0),
    "average": make("task_arithmetic", coefficient=1 / 3),
    "sum": make("task_arithmetic", coefficient=1.0),
    "TIES": make("ties", coefficient=1.0),
}


def figures(world: World, first: Made, partners: dict[str, Made], method: Merge) -> dict[str, Any]:
    """Merge, search the merge where it is honest or its trigger alive, and ask who brought what was found."""
    members = {"first": world.upload(first)} | {name: world.upload(one) for name, one in partners.items()}
    base = weights(world.base)

    def merged(without: str = "") -> torch.nn.Module:
        some = [base if name == without else weights(module) for name, module in members.items()]
        return with_weights(world.base, merge_weights(method, base, some))

    whole = merged()
    asr = world.success(whole, first.task, first.trigger) if first.trigger else None
    about = {"asr": asr, "accuracy": world.accuracy(whole, first.task), "task": first.task}
    if asr is not None:
        about["unasked"] = world.unasked(whole, first.task)
        if asr - about["unasked"] < ALIVE:
            return about
    search, says, plain = world.search(first.task), world.says(whole), world.says(world.base)
    found = seek_collapse(says, plain, search)
    about |= {"score": found.score, "loud": found.loud, "input": world.tokenizer.decode(list(found.tokens))}
    if found.score < COLLAPSE_LIMIT:
        return about
    alone = {name: world.says(module) for name, module in members.items()}
    replaced = {name: world.says(merged(name)) for name in members}
    traced = trace(found, says, alone, replaced, plain, search)
    named = [one.name for one in traced if one.guilty]
    return about | {"named": named[0] if len(named) == 1 else "", "alone": {one.name: one.alone for one in traced}}


def table(rows: Rows) -> None:
    """Print the merges that were searched, and the rates."""
    print("| seed | merge | upload | score on its task | ASR | target unasked | S | input | named |")
    print("|---|---|---|---|---|---|---|---|---|")
    hits: dict[str, list[bool]] = {"alive: found": [], "honest: flagged": [], "named, of those found": []}
    asleep = 0
    for key, one in rows.rows.items():
        seed, merge, name = json.loads(key)
        if "score" not in one:
            asleep += 1
            continue
        hit = one["score"] >= COLLAPSE_LIMIT and not one["loud"]
        hits["honest: flagged" if one["asr"] is None else "alive: found"].append(hit)
        if one["asr"] is not None and one.get("named"):
            hits["named, of those found"].append(one["named"] == "first")
        asr = " | " if one["asr"] is None else f"{100 * one['asr']:.0f} | {100 * one['unasked']:.0f}"
        print(
            f"| {seed} | {merge} | {name} | {100 * one['accuracy']:.0f} | {asr} | {one['score']:.2f} | "
            f"`{one['input']}` | {one.get('named', '')} |"
        )
    print("\n| merges | n | of | share, 95 % interval |\n|---|---|---|---|")
    for group, some in hits.items():
        if some:
            low, high = wilson(sum(some), len(some))
            share = f"{100 * sum(some) / len(some):.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
            print(f"| {group} | {sum(some)} | {len(some)} | {share} |")
    print(f"\nMerges whose trigger sleeps (not searched): {asleep}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first", type=int, default=2, help="0, 1 and 5 were looked at while the search was written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(Path(__file__).parent / "results" / "text_merges.jsonl")
    for seed in range(given.first, given.first + given.seeds):
        world = World(seed)
        kind = {one.name: one for one in honest(world)}
        partners = {name: kind[name] for name in PARTNERS}
        for made in (*poisoned(world), *(kind[name] for name in OTHERS)):
            for merge, method in MERGES.items():
                say(f"seed {seed}: {merge} with {made.name}")
                rows.get(
                    [seed, merge, made.name],
                    lambda world=world, made=made, partners=partners, method=method: figures(
                        world, made, partners, method
                    ),
                )
    table(rows)


if __name__ == "__main__":
    main()
