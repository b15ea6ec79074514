"""``extract``: clones of a classifier of digits and of MISLEADER's ensembles, and the attack as it was released.

Teacher is the zoo's expert of small digits; members and clones start from random weights.  The last rows divide by the
honest attack on the model without a defence, which is what the released comparison does.  Finished rows are kept.
"""

import functools
import statistics
from pathlib import Path

import torch

import mergebarrier as mb
from _keep import Rows, say
from _quiet import one_quiet_thread
from mergebarrier.cache import cache_folder
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import Encoder, load_encoder, save_encoder
from mergebarrier.extraction import ExtractOptions, Misleader
from mergebarrier.numerics import draws
from mergebarrier.training import FullRecipe
from mergebarrier.zoo import fetch

QUERIES, MEMBERS, STEPS = 440, 3, 400
ATTACKS, POOLS = ("soft", "hard", "logits", "double_softmax"), ("train", "noise")
#: Repulsion of an ensemble -> seeds.
ENSEMBLES = {0.0: 3, 0.05: 3, 0.1: 1, 0.5: 3, 2.0: 1}
SEEDS = 3


def random_start(folder: Path, seed: int) -> Path:
    """Return an encoder like the zoo's small base, with weights drawn from a seed."""
    out = folder / f"start-{seed}"
    if not out.exists():
        with open_checkpoint(fetch("glyph-base")) as base:
            encoder = load_encoder(base)
            _draw(encoder, seed)
            save_encoder(encoder, base, out, {"verb": "bench"})
    return out


def _draw(encoder: Encoder, seed: int) -> None:
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if parameter.dim() > 1:
                bound = (3 / parameter[0].numel()) ** 0.5
                stream = ("bench", seed, name)
                parameter.copy_(draws.uniform(stream, *parameter.shape, low=-bound, high=bound))
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)


def ensemble(folder: Path, task: Path, repulsion: float, seed: int) -> list[Path]:
    """Return the members, trained now where they are not there."""
    members = []
    for number in range(MEMBERS):
        own = 10 * seed + number
        out = folder / f"member-{repulsion}-{own}"
        if not out.exists():
            recipe = FullRecipe(
                steps=STEPS, learning_rate=2e-3, weight_decay=0.0, warmup_steps=20, batch_size=64, seed=own
            )
            made = mb.mislead(
                fetch("glyph-expert-digits8"),
                out,
                task=task,
                start=random_start(folder, 100 + own),
                options=Misleader(repulsion=repulsion),
                recipe=recipe,
            )
            say(f"repulsion {repulsion}, member {own}: {made.member:.3f} of {made.teacher:.3f}")
        members.append(out)
    return members


def attacked(folder: Path, task: Path, victims: list[Path], seed: int) -> dict:
    """Return the victim's accuracy, and the clones' by pool and attack."""
    found: dict[str, float] = {}
    for pool in POOLS:
        options = ExtractOptions(attacks=ATTACKS, queries=QUERIES, steps=STEPS, seed=seed)
        start = random_start(folder, seed)
        report = mb.extract(victims, task=task, start=start, pool=pool, options=options)
        for one in report.clones:
            found |= {f"{pool} {one.attack}": one.clone.rate, "utility": one.utility.rate}
    return found


def measured(rows: Rows, folder: Path, task: Path) -> dict[str, list[dict]]:
    """Return service -> figures of every seed."""
    services: dict[str, list[dict]] = {"undefended": []}
    for repulsion in ENSEMBLES:
        services[_name(repulsion)] = []
    for seed in range(1, SEEDS + 1):
        for repulsion, seeds in {None: SEEDS, **ENSEMBLES}.items():
            if seed > seeds:
                continue
            victims = [fetch("glyph-expert-digits8")] if repulsion is None else ensemble(folder, task, repulsion, seed)
            find = functools.partial(attacked, folder, task, victims, seed)
            services[_name(repulsion)].append(rows.get([repulsion, seed], find))
    return services


def _name(repulsion: float | None) -> str:
    return "undefended" if repulsion is None else f"ensemble, repulsion {repulsion:g}"


def main() -> None:
    """Print the table and the ratios."""
    one_quiet_thread()
    folder = cache_folder() / "bench" / "extraction"
    folder.mkdir(parents=True, exist_ok=True)
    rows, task = Rows(folder / "rows.jsonl"), fetch("digits8") / "digits8.task.safetensors"
    services = measured(rows, folder, task)
    columns = [f"{pool} {attack}" for pool in POOLS for attack in ATTACKS]
    print(
        f"{QUERIES} queries, {STEPS} steps, {MEMBERS} members; accuracy in per cent on the test split, mean of the "
        f"seeds and the spread of a seed. Pools: the task's own pictures, and noise.\n"
    )
    print(f"| service | seeds | utility | {' | '.join(columns)} |\n|{'---|' * (3 + len(columns))}")
    means: dict[str, dict[str, float]] = {}
    for name, found in services.items():
        means[name] = {column: statistics.mean(one[column] for one in found) for column in ("utility", *columns)}
        cells = [_cell([one[column] for one in found]) for column in ("utility", *columns)]
        print(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    print("\n| clone of an ensemble over honest clone of the undefended model | train | noise |\n|---|---|---|")
    for name in list(services)[1:]:
        for title, mine in (
            ("honest (logits over logits)", "logits"),
            ("as released (double over logits)", "double_softmax"),
        ):
            ratios = [means[name][f"{pool} {mine}"] / means["undefended"][f"{pool} logits"] for pool in POOLS]
            print(f"| {name}, {title} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    ratios = [means["undefended"][f"{pool} double_softmax"] / means["undefended"][f"{pool} logits"] for pool in POOLS]
    print(f"| no defence at all, as released | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")


def _cell(values: list[float]) -> str:
    spread = f" +- {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
