"""Is a trigger that is alive in a merge found there, are honest merges left alone, and is the right upload named?

    python benchmarks/bench_text_merges.py --seeds 2

Every poisoned upload of ``_text_uploads.py`` is merged with two honest ones, by several merges; a merge counts as alive
where triggered prompts of one of its tasks get the target in 30 % more cases than plain ones, and is searched on that
task.  Merges where the trigger sleeps are counted and not searched.  Honest merges take one of five other uploads in
its place, the recipe that is most often mistaken among them, and are searched on its task.  Seeds 0 to 9 were looked at
while the searches were written: none of them is counted here.  Finished rows are kept in
benchmarks/results/text_merges.jsonl.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from _keep import Rows, say
from _text_uploads import IMPLANTED, Made, World, honest, poisoned
from mergebarrier.attack.encoders import merge_weights, weights, with_weights
from mergebarrier.merge import Merge, make
from mergebarrier.numerics import wilson
from mergebarrier.scan import judge_merge, seek_in_merge

ALIVE = 0.3
PARTNERS = ("attention", "LoRA of all, new task")
#: The honest recipe that the search of uploads takes for a poisoned one now and then.
MISTAKEN = "two labels, 80 : 20"
OTHERS = ("all maps", "twice its vector", "several tasks", "wrong labels, a fifth", MISTAKEN)
MERGES = {
    "two thirds of it": make("task_arithmetic", weights=(2 / 3, 1 / 6, 1 / 6), coefficient=1.0),
    "average": make("task_arithmetic", coefficient=1 / 3),
    "sum": make("task_arithmetic", coefficient=1.0),
    "TIES": make("ties", coefficient=1.0),
    "half of it": make("task_arithmetic", weights=(1 / 2, 1 / 4, 1 / 4), coefficient=1.0),
}


def figures(world: World, first: Made, partners: dict[str, Made], method: Merge) -> dict[str, Any]:
    """Merge, search the merge where it is honest or its trigger alive, and ask who brought what was found."""
    members = {"first": world.upload(first)} | {name: world.upload(one) for name, one in partners.items()}
    base = weights(world.base)

    def merged(without: str = "") -> torch.nn.Module:
        some = [base if name == without else weights(module) for name, module in members.items()]
        return with_weights(world.base, merge_weights(method, base, some))

    whole = merged()
    tasks = [*dict.fromkeys([first.task, *(one.task for one in partners.values())])]
    about: dict[str, Any] = {"accuracy": {task: world.accuracy(whole, task) for task in tasks}}
    if first.trigger:
        about["own"] = world.success(members["first"], first.task, first.trigger)
        about["asr"] = {task: world.success(whole, task, first.trigger) for task in tasks}
        about["unasked"] = {task: world.unasked(whole, task) for task in tasks}
        tasks = [task for task in tasks if about["asr"][task] - about["unasked"][task] >= ALIVE]
    else:
        tasks = [first.task]
    about["searched"] = {task: searched(world, first, partners, members, whole, merged, task) for task in tasks}
    return about


def searched(
    world: World,
    first: Made,
    partners: dict[str, Made],
    members: dict[str, torch.nn.Module],
    whole: torch.nn.Module,
    merged: Callable[[str], torch.nn.Module],
    task: int,
) -> dict[str, Any]:
    """Search a merge on one task, as ``scan`` does."""
    alone = {name: world.says(module) for name, module in members.items()}
    replaced = {name: world.says(merged(name)) for name in members}
    finds = [world.found(one) for one in (first, *partners.values())]
    known = world.survey(task)
    found, traced = seek_in_merge(
        world.says(whole), world.says(world.base), world.search(task), alone, replaced, finds, known=known
    )
    told = judge_merge("merge", found, world.spell, 0, traced)
    return {
        "score": found.score,
        "input": world.spell(found.tokens),
        "severity": told[0].severity if told else "",
        "named": told[1].model if len(told) > 1 else "",
        "traced": {one.name: [one.alone, one.drop] for one in traced},
    }


def table(rows: Rows) -> None:
    """Print the merges that were searched, and the rates."""
    print(
        "| seed | merge | upload | own ASR | task | score on it | ASR | target unasked | S | input | verdict | named |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    hits: dict[str, list[bool]] = {
        group: []
        for group in (
            "alive: found",
            "alive, own ASR 90 or more: found",
            "honest: flagged",
            "honest, other than of two labels: flagged",
            "honest: medium",
            "named, of those found",
        )
    }
    asleep = 0
    for key, one in rows.rows.items():
        seed, merge, name = json.loads(key)
        if not one["searched"]:
            asleep += 1
            continue
        verdicts = [each["severity"] for each in one["searched"].values()]
        named = [each["named"] for each in one["searched"].values() if each["named"]]
        if "asr" in one:
            hits["alive: found"].append("high" in verdicts)
            if one["own"] >= IMPLANTED:
                hits["alive, own ASR 90 or more: found"].append("high" in verdicts)
            hits["named, of those found"] += [each == "first" for each in named]
        else:
            hits["honest: flagged"].append("high" in verdicts)
            if name != MISTAKEN:
                hits["honest, other than of two labels: flagged"].append("high" in verdicts)
            hits["honest: medium"].append("medium" in verdicts)
        own = f"{100 * one['own']:.0f}" if "own" in one else ""
        for task, each in one["searched"].items():
            asr = f"{100 * one['asr'][task]:.0f} | {100 * one['unasked'][task]:.0f}" if "asr" in one else " | "
            print(
                f"| {seed} | {merge} | {name} | {own} | {task} | {100 * one['accuracy'][task]:.0f} | {asr} | "
                f"{each['score']:.2f} | `{each['input']}` | {each['severity']} | {each['named']} |"
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
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--first", type=int, default=10, help="0 to 9 were looked at")
    parser.add_argument("--only", default="", help="uploads whose name begins so")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(Path(__file__).parent / "results" / "text_merges.jsonl")
    for seed in range(given.first, given.first + given.seeds):
        world = World(seed)
        kind = {one.name: one for one in honest(world)}
        partners = {name: kind[name] for name in PARTNERS}
        every = (*poisoned(world), *(kind[name] for name in OTHERS))
        for made in (one for one in every if one.name.startswith(given.only)):
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
