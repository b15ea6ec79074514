"""Does ``scan`` leave odd but honest image experts alone, and find triggers that are no single patch?

Honest experts of sixteen recipes and experts with seven kinds of trigger, each on ten classes of a task of the small
vision bench.  Limits are set on eight recipes and two seeds, and judged on eight other recipes and other seeds; task,
class, place and strength are drawn, and the scan is told none of them.  Every expert and every scan is kept, so a
stopped run goes on where it was.
"""

import sys
import time
from collections.abc import Sequence

import torch

from _odd_experts import JUDGE, TUNE, group_of, pool_of, weights
from _odd_triggers import TRIGGERS, Expert, stamp_of, task_of
from _pools import bench, kept
from mergebarrier.evaluate import pixels
from mergebarrier.numerics import wilson
from mergebarrier.scan import (
    ALONE,
    CARRIERS,
    EXCESS_LIMIT,
    PIECES_LIMIT,
    SURE,
    WHOLE_LIMIT,
    Search,
    along,
    judge_task_vectors,
    limit_of,
    measure,
    seek,
    seek_whole,
    stands_out,
)

#: As the command line searches.
SEARCH = Search()
TUNING, JUDGED = (100,), (1, 2, 3, 4, 5)
#: Three usual experts, the others of the pool in which the weights of an odd one are compared.
OTHERS = tuple(Expert("usual", seed) for seed in (200, 201, 202))
#: Share of the task vector at which the adversary's own trigger is tried too: what a merge leaves of it.
SCALED = 0.3


def row(one: Expert) -> dict:
    """Train an expert, scan it alone, and measure what is true of it on test images."""

    def compute() -> dict:
        torch.set_num_threads(1)
        pool = pool_of(one)
        suspect, started = pool.suspects[0], time.process_time()
        patches = seek(pool, suspect, SEARCH)
        between = time.process_time()
        images = seek_whole(pool, suspect, SEARCH)
        ended = time.process_time()
        return {
            "patch": [patches.excess, patches.rival, patches.patches[0].target],
            "whole": {found.carrier: [found.excess, found.rival, found.target] for found in images.found},
            "seconds": [between - started, ended - between],
            "notes": notes(one), **truth(one),
        }  # fmt: skip

    return kept("odd-experts", [one.name, str(SEARCH), list(CARRIERS)], compute)


def notes(one: Expert) -> list[str]:
    """Return the rules on task vectors that name the expert among three usual ones."""
    base = {name: parameter.detach() for name, parameter in bench()[0].named_parameters()}
    experts = [weights(member) for member in (one, *OTHERS)]
    stream = ((name, tensor, [expert[name] for expert in experts]) for name, tensor in base.items())
    found = judge_task_vectors([member.name for member in (one, *OTHERS)], measure(stream, len(experts)))
    return sorted({finding.rule for finding in found if finding.model == one.name})


@torch.no_grad()
def truth(one: Expert) -> dict:
    """Measure accuracy and, with a trigger, its success: on the expert, and at a part of its task vector."""
    pool, test = pool_of(one), task_of(one).test
    suspect, images, labels = pool.suspects[0], pixels(test.images), group_of(one)[test.labels]
    figures = {"accuracy": _mean(pool.predict(suspect.weights, images, suspect) == labels)}
    if one.kind in TRIGGERS:
        others = labels != one.target
        stamped = stamp_of(one)(images[others])
        for name, share in (("asr", 1.0), ("asr_scaled", SCALED), ("asr_base", 0.0)):
            said = pool.predict(along(pool.base, suspect.weights, share), stamped, suspect)
            figures[name] = _mean(said == one.target)
    return figures


def _mean(values: torch.Tensor) -> float:
    return float(values.float().mean())


def strongest(one: Expert) -> tuple[float, float, float]:
    """Return the largest excess of a patch, of a change of the whole image, and of two pieces."""
    whole = {carrier: excess for carrier, (excess, _, _) in row(one)["whole"].items()}
    pieces = [carrier for carrier in whole if CARRIERS[carrier].places is not None]
    rest = max(excess for carrier, excess in whole.items() if carrier not in pieces)
    return row(one)["patch"][0], rest, max(whole[carrier] for carrier in pieces)


def flags(one: Expert) -> tuple[bool, bool]:
    """Say whether the search for patches finds the expert, and that for changes of the whole image."""
    excess, rival, _ = row(one)["patch"]
    by_patch = stands_out(excess, rival, EXCESS_LIMIT)
    whole = row(one)["whole"].items()
    return by_patch, any(stands_out(excess, rival, limit_of(carrier)) for carrier, (excess, rival, _) in whole)


def rate(hits: int, total: int) -> str:
    """Return a share with its Wilson interval."""
    low, high = wilson(hits, total)
    return f"{hits}/{total} = {hits / total:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Run what is missing, then print the tables; numbers choose seeds, those of ``TUNING`` and others."""
    seeds = [int(word) for word in sys.argv[1:]] or [*JUDGED, *TUNING]
    judged = [Expert(kind, seed) for seed in seeds if seed not in TUNING for kind in (*JUDGE, *TRIGGERS)]
    tuned = [Expert(kind, seed) for seed in seeds if seed in TUNING for kind in (*TUNE, *TRIGGERS)]
    for done, one in enumerate([*judged, *tuned], start=1):
        sys.stderr.write(f"{done}/{len(judged + tuned)} {one.name}, {task_of(one).name}: {row(one)}\n")
    print(f"Limits: {EXCESS_LIMIT} for patches (MB7301), {WHOLE_LIMIT} for the whole image (MB7305),")
    print(f"{PIECES_LIMIT} for pieces of it; and {ALONE} above any other class, or {SURE} at all.\n")
    for title, experts in (("Judged", judged), ("Tuned", tuned)):
        if experts:
            report(title, experts)
    seconds = torch.tensor([row(one)["seconds"] for one in [*judged, *tuned]]).mean(0).tolist()
    print(f"Processor time of an expert: {seconds[0]:.1f} s for patches, {seconds[1]:.1f} s for the whole image.")


def report(title: str, experts: Sequence[Expert]) -> None:
    """Print the tables of honest experts and of triggers."""
    honest = [one for one in experts if one.kind not in TRIGGERS]
    guilty = [one for one in experts if one.kind in TRIGGERS]
    print(f"## {title}\n")
    print("| honest recipe | experts | accuracy | flagged | largest excess: patch | whole image | pieces | notes |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, group in _by_kind(honest):
        flagged = sum(any(flags(one)) for one in group)
        largest = " | ".join(f"{max(strongest(one)[i] for one in group):.2f}" for i in range(3))
        noted = sorted({rule for one in group for rule in row(one)["notes"]})
        accuracy = sum(row(one)["accuracy"] for one in group) / len(group)
        print(f"| {kind} | {len(group)} | {accuracy:.2f} | {flagged} | {largest} | {', '.join(noted) or '-'} |")
    flagged = [one for one in honest if any(flags(one))]
    noted = sum(bool(row(one)["notes"]) for one in honest)
    print(f"\nHonest experts flagged: {rate(len(flagged), len(honest))}{_named(flagged)}.")
    print(f"Honest experts with a note on weights: {rate(noted, len(honest))}.\n")
    print("| trigger | experts | success | at 0.3 of the task vector | found by patch | by whole image | by either |")
    print("|---|---|---|---|---|---|---|")
    for kind, group in _by_kind(guilty):
        by = [sum(flags(one)[i] for one in group) for i in (0, 1)]
        success = [sum(row(one)[name] for one in group) / len(group) for name in ("asr", "asr_scaled")]
        either = sum(any(flags(one)) for one in group)
        print(f"| {kind} | {len(group)} | {success[0]:.2f} | {success[1]:.2f} | {by[0]} | {by[1]} | {either} |")
    missed = [one for one in guilty if not any(flags(one))]
    noted = sum(bool(row(one)["notes"]) for one in guilty)
    print(f"\nTriggers found: {rate(len(guilty) - len(missed), len(guilty))}{_named(missed, 'missed')}.")
    print(f"Triggers with a note on weights: {rate(noted, len(guilty))}.\n")


def _by_kind(experts: Sequence[Expert]) -> list[tuple[str, list[Expert]]]:
    kinds = dict.fromkeys(one.kind for one in experts)
    return [(kind, [one for one in experts if one.kind == kind]) for kind in kinds]


def _named(experts: Sequence[Expert], what: str = "flagged") -> str:
    listed = [
        "{} (patch {:.2f}, whole image {:.2f}, pieces {:.2f})".format(one.name, *strongest(one)) for one in experts
    ]
    return f"; {what}: {'; '.join(listed)}" if listed else ""


if __name__ == "__main__":
    main()
