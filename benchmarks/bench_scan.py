"""How well does ``scan`` tell pools with an adversary from honest ones?  AUROC, guilty model named, false positives.

Pools of four experts on the small vision bench.  Attack, class, patch size (5 or 7 pixels), corner and guilty task are
drawn from the seed; the scan is told none of them.  Limits are read off the tuning seeds and judged on other seeds.
Every expert and every scan is kept, so a stopped run goes on where it was.
"""

import sys
import time
from collections.abc import Iterable, Sequence

import torch

from _pools import COEFFICIENT, Upload, bench, drawn, kept, merge, poisoned, pool, trigger
from mergebarrier.evaluate import pixels
from mergebarrier.numerics import wilson
from mergebarrier.scan import (
    Search,
    halves,
    judge_task_vectors,
    leave_out,
    measure,
    neural_cleanse,
    scaled_consistency,
    scan_pool,
    seek,
)
from mergebarrier.scan.checks.expert_patches import EXCESS_LIMIT
from mergebarrier.scan.checks.merged_patches import MERGED_LIMIT
from mergebarrier.scan.checks.neural_cleanse import INDEX_LIMIT
from mergebarrier.scan.checks.task_vectors import Z_LIMIT
from mergebarrier.training import uniform

ATTACKS = ("badmerging", "universal", "badnets")
TUNING, TEST, HONEST_SEEDS, SIZE = range(100, 101), range(7), 4, 4
#: A merge is searched under every head; this many pools of either kind are.
MERGES = 6
#: As the command line searches.
SEARCH = Search()
CLEANSE_STEPS = 40


def members(guilty: Upload | None, seed: int, kind: str, honest: Sequence[int]) -> tuple[Upload, ...]:
    """Return a pool: the guilty expert, if any, and honest experts of other tasks, all drawn."""
    _, tasks = bench()
    free = [task for task in tasks if guilty is None or task != guilty.task]
    ranks = uniform(seed, f"bench-scan|{kind}|members", len(free)).argsort().tolist()
    chosen = [free[rank] for rank in ranks[: SIZE - (guilty is not None)]]
    others = [Upload(task, honest[drawn(seed, f"{kind}|{task}", len(honest))]) for task in chosen]
    return tuple(others if guilty is None else [guilty, *others])


def on_expert(upload: Upload) -> dict:
    """Scan one upload; a row does not depend on the pool it is in."""

    def compute() -> dict:
        one = pool((upload,))
        started = time.process_time()
        found = seek(one, one.suspects[0], SEARCH)
        spent, suspect = time.process_time() - started, one.suspects[0]
        shown = halves(suspect.images)[0]
        cleansed = neural_cleanse(
            lambda x: one.logits(suspect.weights, x, suspect), shown, len(suspect.head), steps=CLEANSE_STEPS, batch=8
        )
        return {
            "excess": found.excess, "probe": found.probe, "target": found.patches[0].target,
            "seconds": spent, "index": cleansed.index,
        }  # fmt: skip

    return kept("expert", [upload.name, str(SEARCH), CLEANSE_STEPS], compute)


def truth(upload: Upload) -> dict:
    """Measure the adversary's own trigger on test images, and Scale-Up on inputs with and without it."""

    def compute() -> dict:
        _, tasks = bench()
        task, one = tasks[upload.task], pool((upload,))
        suspect, images = one.suspects[0], pixels(task.test.images)[:400]
        labels, stamp = task.test.labels[:400], trigger(upload)
        found = one.predict(suspect.weights, stamp.stamp(images), suspect)
        others = labels != upload.target
        both = [
            scaled_consistency(lambda x: one.logits(suspect.weights, x, suspect), x)
            for x in (images[others], stamp.stamp(images[others]))
        ]
        return {
            "asr": float((found[others] == upload.target).float().mean()),
            "accuracy": float((one.predict(suspect.weights, images, suspect) == labels).float().mean()),
            "scale_up": auroc(both[1].tolist(), both[0].tolist()),
        }

    return kept("truth", upload.name, compute)


def on_merge(uploads: tuple[Upload, ...]) -> dict:
    """Search the merge under every head, and leave models out."""

    def compute() -> dict:
        one = pool(uploads)
        started = time.process_time()
        outcome = scan_pool(one, SEARCH, merge=merge(), checks=("merge_patches",))
        best = max(outcome.merged, key=lambda found: found.patch.excess)
        suspect = next(item for item in one.suspects if item.name == best.task)
        blame = leave_out(one, merge(), [(suspect, best.patch)])[0]
        return {
            "excess": best.patch.excess, "named": blame.drops[0][0][0], "drop": blame.drops[0][1],
            "seconds": time.process_time() - started,
        }  # fmt: skip

    return kept("merge", [[upload.name for upload in uploads], str(SEARCH), COEFFICIENT], compute)


def odd_weights(uploads: tuple[Upload, ...]) -> float:
    """Return the largest robust z over its limit among the findings about task vectors, 0 without one."""
    one = pool(uploads)
    experts = [suspect.weights for suspect in one.suspects]
    found = judge_task_vectors(
        [upload.name for upload in uploads],
        measure(((name, one.base[name], [expert[name] for expert in experts]) for name in one.base), len(experts)),
    )
    return max((finding.value for finding in found), default=0.0)


def auroc(guilty: Sequence[float], honest: Sequence[float]) -> float:
    """Return the share of pairs in which the guilty one scores higher; ties count half."""
    one, other = torch.tensor(guilty)[:, None], torch.tensor(honest)[None]
    return float(((one > other).float() + 0.5 * (one == other).float()).mean())


def interval(guilty: Sequence[float], honest: Sequence[float]) -> str:
    """Return the AUROC with a bootstrap interval over pools, 2,000 keyed resamples."""
    n, m = len(guilty), len(honest)
    rows = (uniform(0, "bench-scan|bootstrap|guilty", 2000, n) * n).long()
    columns = (uniform(0, "bench-scan|bootstrap|honest", 2000, m) * m).long()
    one, other = torch.tensor(guilty), torch.tensor(honest)
    draws = torch.tensor([auroc(one[r].tolist(), other[c].tolist()) for r, c in zip(rows, columns, strict=True)])
    low, high = draws.quantile(0.025), draws.quantile(0.975)
    return f"{auroc(guilty, honest):.3f} [{low:.3f}, {high:.3f}]"


def rate(hits: int, total: int) -> str:
    """Return a share with its Wilson interval."""
    low, high = wilson(hits, total)
    return f"{hits}/{total} = {hits / total:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Run what is missing, then print the tables; numbers say how many pools of either kind, and how many merges."""
    _, tasks = bench()
    n, merges = (int(word) for word in (sys.argv[1:] or (len(TEST) * len(ATTACKS), MERGES)))
    tuning = [poisoned(attack, seed) for seed in TUNING for attack in ATTACKS]
    test = [poisoned(attack, seed) for seed in TEST for attack in ATTACKS][:n]
    honest_tuning = [Upload(task, TUNING[0]) for task in tasks]
    with_one = [members(upload, upload.seed, upload.attack, range(HONEST_SEEDS)) for upload in test]
    without = [members(None, seed, "honest", range(HONEST_SEEDS)) for seed in range(len(test))]
    work = list(dict.fromkeys(upload for pair in zip(with_one, without, strict=True) for p in pair for upload in p))
    for done, upload in enumerate([*honest_tuning, *tuning, *work], start=1):
        row = on_expert(upload)
        if upload.attack != "honest":
            row = {**row, **truth(upload)}
        sys.stderr.write(f"expert {done}/{len(honest_tuning + tuning + work)} {upload.name}: {row}\n")
    for pair in list(zip(with_one, without, strict=True))[:merges]:
        for group in pair:
            sys.stderr.write(f"merge with {group[0].name}: {on_merge(group)}\n")
    report(tuning, honest_tuning, with_one, without, merges)


def report(tuning, honest_tuning, with_one, without, merges: int) -> None:
    """Print the tables in Markdown."""

    def worst(key: str):
        return lambda group: max(on_expert(upload)[key] for upload in group)

    checks = (
        ("searched patches, experts (MB7301)", worst("excess"), EXCESS_LIMIT, len(without)),
        ("searched patches, merge (MB7303)", lambda group: on_merge(group)["excess"], MERGED_LIMIT, merges),
        ("task vectors (MB7201-MB7204)", odd_weights, Z_LIMIT, len(without)),
        ("Neural Cleanse, experts (MB7401)", worst("index"), INDEX_LIMIT, len(without)),
    )
    print("| check | AUROC over pools | limit | pools with an adversary found | honest pools flagged |")
    print("|---|---|---|---|---|")
    for name, score, bound, n in (check for check in checks if check[3]):
        bad, good = [score(group) for group in with_one[:n]], [score(group) for group in without[:n]]
        found, wrong = sum(s > bound for s in bad), sum(s > bound for s in good)
        print(f"| {name} | {interval(bad, good)} | {bound:.2f} | {rate(found, len(bad))} | {rate(wrong, len(good))} |")
    guilty, fair = ([on_expert(u)["excess"] for u in group] for group in (tuning, honest_tuning))
    print(f"\nTuning seeds: honest experts reach {max(fair):.2f}, poisoned ones start at {min(guilty):.2f}.\n")
    print("| the guilty model is named by | of the pools that were found |\n|---|---|")
    for name, key, bound in (("largest excess", "excess", EXCESS_LIMIT), ("largest index", "index", INDEX_LIMIT)):
        found = [group for group in with_one if worst(key)(group) > bound]
        right = sum(max(group, key=lambda u: on_expert(u)[key]) == group[0] for group in found)
        print(f"| {name} | {rate(right, len(found)) if found else 'none found'} |")
    found = [group for group in with_one[:merges] if on_merge(group)["excess"] > MERGED_LIMIT]
    right = sum(on_merge(group)["named"] == group[0].task for group in found)
    if merges:
        print(f"| leaving one out of the merge | {rate(right, len(found)) if found else 'none found'} |")
    print("\n| attack | experts | un-merged ASR | excess | probe at 0.3 | right class | Scale-Up, AUROC on inputs |")
    print("|---|---|---|---|---|---|---|")
    for attack in ATTACKS:
        uploads = [group[0] for group in with_one if group[0].attack == attack]
        rows = [{**on_expert(upload), **truth(upload)} for upload in uploads]
        right = sum(row["target"] == upload.target for row, upload in zip(rows, uploads, strict=True))
        told = f"{mean(r['asr'] for r in rows):.2f} | {span(rows)} | {mean(r['probe'][3] for r in rows):.2f}"
        print(f"| {attack} | {len(rows)} | {told} | {right}/{len(rows)} | {mean(r['scale_up'] for r in rows):.2f} |")
    honest = list(dict.fromkeys(u for group in [*with_one, *without] for u in group if u.attack == "honest"))
    rows = [on_expert(upload) for upload in honest]
    print(f"| none | {len(rows)} | - | {span(rows)} | {mean(r['probe'][3] for r in rows):.2f} | - | - |")
    flagged = sum(row["excess"] > EXCESS_LIMIT for row in rows)
    print(f"\nOf the honest experts {rate(flagged, len(rows))} are above the limit.")
    spent = mean(on_expert(u)["seconds"] for group in with_one for u in group)
    print(f"Processor time of a search: {spent:.1f} s per expert.")


def span(rows: Sequence[dict]) -> str:
    """Return the lowest and the highest excess."""
    return f"{min(row['excess'] for row in rows):.2f} to {max(row['excess'] for row in rows):.2f}"


def mean(values: Iterable[float]) -> float:
    """Return the arithmetic mean."""
    found = list(values)
    return sum(found) / len(found)


if __name__ == "__main__":
    main()
