"""``provenance relate``: strangers of one data set, relatives behind every key and change, and scores of others beside.

The hard null is trained here (``_hard_null``); relatives are the zoo's language model and its expert, and tiny models
of ten families.  Finished rows are kept, so a run that was stopped goes on; arguments choose among the parts.
"""

import functools
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from scipy.stats import kstest, norm

import mergebarrier as mb
from _comparison_scores import SCORES
from _hard_null import trained
from _keep import Rows, say
from _quiet import one_quiet_thread
from mergebarrier import zoo
from mergebarrier.arch import FAMILIES
from mergebarrier.cache import cache_folder
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import save_module, tiny_module
from mergebarrier.keys import Key
from mergebarrier.numerics import LEAST_TAIL, least_of
from mergebarrier.protect import PROTECTIONS
from mergebarrier.provenance import TESTS

MODELS = 24
#: Models that were made after the tests had been settled on the others.
FRESH = range(24, 34)
KEY = Key(bytes([7]) * 32)
TEN = ("llama", "qwen3", "gemma2", "phi3", "gpt2", "gpt_neox", "mixtral", "mamba", "bert", "t5")
PROTECTED = (
    "exact lossless",
    "exact full",
    *(name for name, kind in PROTECTIONS.items() if name != "exact" and kind.needs <= {"base"}),
)
#: A stream whose head is its embedding is not rotated, so neither SmolLM2 nor the hard null has this.
KEYS_OF_FAMILIES = (*PROTECTED, "exact rotate")
RELATED_AT = 1e-3
Tensors = dict[str, torch.Tensor]


def strangers(rows: Rows, seeds: range = range(MODELS)) -> None:
    """Print how the p-values of unrelated pairs are spread."""
    folder = cache_folder() / "bench" / "hard-null"
    pairs = itertools.combinations(trained(folder, seeds), 2)
    found = []
    for first, second in pairs:
        key = ["stranger", first.name, second.name]
        found.append(rows.get(key, lambda first=first, second=second: relate(first, second)))
    say(f"{len(found)} pairs of strangers")
    print(f"Strangers: {len(found)} pairs of {len(seeds)} tiny Llamas of one configuration, data and order of data.\n")
    print("| test | p-values | KS p | mean | < .05 | < .01 | least |\n|---|---|---|---|---|---|---|")
    tests = {name: [row["tests"][name] for row in found if name in row["tests"]] for name in TESTS}
    tests["stored, per layer"] = [float(norm.sf(z)) for row in found for z in row["stored_z"]]
    tests["numbered, per layer"] = [float(norm.sf(z)) for row in found for z in row["numbered_z"]]
    tests["layer, of three z"] = [p for row in found for p in row["layer_p"]]
    tests["all together"] = [least_of([*row["tests"].values()], len(TESTS)) for row in found]
    for name, ps in tests.items():
        shares = [sum(p < level for p in ps) / len(ps) for level in (0.05, 0.01)]
        print(
            f"| {name} | {len(ps)} | {kstest(ps, 'uniform').pvalue:.2g} | {sum(ps) / len(ps):.2f} | {shares[0]:.3f} | "
            f"{shares[1]:.3f} | {min(ps):.2g} |"
        )
    false = sum(p <= RELATED_AT for p in tests["all together"])
    print(f"\nCalled related at {RELATED_AT:g}: {false} of {len(found)}.\n")


def relate(first: Path, second: Path) -> dict[str, object]:
    """Return the figures of one pair."""
    report = mb.provenance_relate(first, second)
    return {
        "p": report.p,
        "tests": dict(report.tests),
        "embeddings": report.embeddings,
        "layers": [len(report.layers_related), len(report.layers)],
        "stored_order": report.stored_order,
        "k4": None if report.stream is None else report.stream.k4,
        "z": report.z_sum / report.decided,
        "cosine": report.rotated_cosine,
        "layer_p": [layer.p for layer in report.layers][:3],
        "stored_z": [layer.stored_z for layer in report.layers][:3],
        "numbered_z": [layer.numbered_z for layer in report.layers][:3],
    }


def protected(model: Path, base: Path, name: str, out: Path) -> Path:
    """Protect a model by the name of a protection, with its profile."""
    method, _, profile = name.partition(" ")
    kind = PROTECTIONS[method]
    made = kind(profile=profile) if profile in ("lossless", "full") else kind(residual=profile) if profile else kind()
    mb.protect(model, out, method=made, key=KEY if made.keyed else None, base=base if "base" in kind.needs else None)
    return out


def rewritten(model: Path, out: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Path:
    """Write a model with every matrix changed."""
    out.mkdir()
    for path in model.iterdir():
        if path.suffix in (".json", ".jinja") and path.name != "mergebarrier.json":
            (out / path.name).write_bytes(path.read_bytes())
    tensors = load_file(model / "model.safetensors")
    changed = {name: change(name, one).to(one.dtype) if one.dim() == 2 else one for name, one in tensors.items()}
    save_file(changed, out / "model.safetensors", {"format": "pt"})
    return out


def quantised(bits: int) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Round groups of 64 weights to so many bits."""

    def change(name: str, weight: torch.Tensor) -> torch.Tensor:
        groups = weight.float().reshape(-1, 64)
        step = groups.abs().amax(1, keepdim=True).clamp_min(1e-12) / (2 ** (bits - 1) - 0.5)
        return ((groups / step).round() * step).reshape(weight.shape)

    return change


def pruned(share: float) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Zero the smallest weights."""

    def change(name: str, weight: torch.Tensor) -> torch.Tensor:
        sizes = weight.float().abs()
        return weight * (sizes > sizes.flatten()[:: max(1, sizes.numel() // 100_000)].quantile(share))

    return change


def diluted(share: float, where: str = "") -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Keep a share of the norm, and let the rest be noise; ``where`` a name must hold."""
    draw = torch.Generator().manual_seed(5)

    def change(name: str, weight: torch.Tensor) -> torch.Tensor:
        if where not in name:
            return weight
        noise = torch.randn(weight.shape, generator=draw) * weight.float().std()
        return share * weight.float() + (1 - share**2) ** 0.5 * noise

    return change


def half_of_the_tokens(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Replace every second row of the embedding by noise."""
    if "embed_tokens" not in name:
        return weight
    changed = diluted(0.0)(name, weight)
    changed[::2] = weight[::2].float()
    return changed


def one_layer_of_three(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Replace two layers of three by noise."""
    number = name.split("layers.")[-1].split(".")[0]
    return diluted(0.0)(name, weight) if number.isdigit() and int(number) % 3 else weight


#: What may follow a key, the hardest first.
CHANGES: dict[str, Callable[[str, torch.Tensor], torch.Tensor]] = {
    "share .1 of the norm, rest noise": diluted(0.1),
    "embedding replaced": diluted(0.0, "embed_tokens"),
    "one layer of three kept": one_layer_of_three,
    "int2": quantised(2),
    "95% pruned": pruned(0.95),
    "layers replaced": diluted(0.0, "layers"),
    "half of the token rows replaced": half_of_the_tokens,
    "share .2 of the norm, rest noise": diluted(0.2),
    "share .3 of the norm, rest noise": diluted(0.3),
    "int4": quantised(4),
    "50% pruned": pruned(0.5),
    "all replaced": diluted(0.0),
}


def relatives(rows: Rows) -> None:
    """Print what is found of the zoo's expert behind every key, and after what may follow the key."""
    base, expert = zoo.fetch("smollm2"), zoo.fetch("expert-tickets")
    with tempfile.TemporaryDirectory() as scratch:

        def keyed(name: str) -> Path:
            out = Path(scratch) / name.replace(" ", "-")
            return out if out.exists() else protected(expert, base, name, out)

        print("Relatives: an expert of SmolLM2-135M against its base.\n")
        print("| suspect | p | embeddings | layers | stored order | k4 | z |\n|---|---|---|---|---|---|---|")
        print(_line("the expert", rows.get(["relative", "plain"], lambda: relate(expert, base))))
        for name in PROTECTED:
            print(_line(name, rows.get(["relative", name], lambda name=name: relate(keyed(name), base))))
        print("\nThe same behind a key and then changed: p, and what is found (e: embeddings; layers of all).\n")
        print(f"| change | {' | '.join(PROTECTED)} |\n|---|{'---|' * len(PROTECTED)}")
        for change, how in CHANGES.items():
            cells = []
            for name in PROTECTED:

                def measure(name: str = name, how: Callable[..., torch.Tensor] = how) -> dict[str, object]:
                    with tempfile.TemporaryDirectory() as inner:
                        return relate(rewritten(keyed(name), Path(inner) / "out", how), base)

                row = rows.get(["relative", name, change], measure)
                seen = "e " if row["embeddings"] == "related" else ""
                cells.append(f"{_shown(row['p'])}, {seen}{row['layers'][0]}/{row['layers'][1]}")
                say(f"{change}, {name}: {cells[-1]}")
            print(f"| {change} | {' | '.join(cells)} |")
    print()


def _shown(p: float) -> str:
    return f"{p:.1g}" if p > LEAST_TAIL else f"< {LEAST_TAIL:g}"


def _line(name: str, row: dict[str, object]) -> str:
    related, layers = row["layers"]
    k4 = "-" if row["k4"] is None else f"{row['k4']:.1f}"
    found = f"{row['embeddings']} | {related}/{layers} | {row['stored_order']}"
    return f"| {name} | {_shown(float(row['p']))} | {found} | {k4} | {row['z']:.1f} |"


def families(rows: Rows) -> None:
    """Print how many keyed fine-tunes of tiny random models of ten families are found, and how many strangers."""
    print("Ten families, tiny random models, a fine-tune of 10 % of every tensor against its base.\n")
    print(f"| family | {' | '.join(KEYS_OF_FAMILIES)} | stranger |\n|---|{'---|' * (len(KEYS_OF_FAMILIES) + 1)}")
    for family in TEN:
        row = rows.get(["family", family, "rotated too"], lambda family=family: _family(family))
        cells = [one if isinstance(one, str) else _shown(one) for one in row.values()]
        print(f"| {family} | {' | '.join(cells)} |")
    print()


def _family(name: str) -> dict[str, object]:
    table = FAMILIES[name]
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for folder, seed in (("base", 0), ("tuned", 0), ("stranger", 5)):
            save_module(tiny_module(table, table.architectures[0], seed=seed), root / folder)
        draw, path = torch.Generator().manual_seed(1), root / "tuned" / "model.safetensors"
        tensors = load_file(path)
        moved = {key: one + 0.1 * one.std() * torch.randn(one.shape, generator=draw) for key, one in tensors.items()}
        save_file(moved, path, {"format": "pt"})
        for method in KEYS_OF_FAMILIES:
            try:
                out = protected(root / "tuned", root / "base", method, root / method.replace(" ", "-"))
                found[method] = mb.provenance_relate(out, root / "base").p
            except mb.MergebarrierError as error:
                found[method] = error.code
        found["stranger"] = mb.provenance_relate(root / "stranger", root / "base").p
    return found


def scores(rows: Rows) -> None:
    """Print what scores without a null say of the same pairs: strangers, relatives, and relatives behind a key."""
    folder = cache_folder() / "bench" / "hard-null"
    models = list(trained(folder, range(4)))
    print("Other scores, 1 for the same model: tiny Llamas of the hard null, and one behind two keys.\n")
    print(f"| pair | p of relate | {' | '.join(SCORES)} |\n|---|---|{'---|' * len(SCORES)}")
    with tempfile.TemporaryDirectory() as scratch:
        pairs = dict(_pairs(models, Path(scratch)))
        for name, (first, second) in pairs.items():
            row = rows.get(["scores", name], lambda first=first, second=second: _scored(first, second))
            cells = [f"{value:.2f}" for key, value in row.items() if key != "p"]
            print(f"| {name} | {_shown(row['p'])} | {' | '.join(cells)} |")


def _pairs(models: list[Path], scratch: Path) -> Iterator[tuple[str, tuple[Path, Path]]]:
    yield "strangers 0, 1", (models[0], models[1])
    yield "strangers 2, 3", (models[2], models[3])
    tuned = rewritten(models[0], scratch / "tuned", diluted(0.98))
    yield "a fine-tune", (tuned, models[0])
    for name in PROTECTED:
        yield f"a fine-tune, {name}", (protected(tuned, models[0], name, scratch / name.replace(" ", "-")), models[0])


def _scored(first: Path, second: Path) -> dict[str, float]:
    with open_checkpoint(first) as ours, open_checkpoint(second) as theirs:
        return {"p": mb.provenance_relate(ours, theirs).p} | {name: of(ours, theirs) for name, of in SCORES.items()}


PARTS = {
    "strangers": strangers,
    "fresh": functools.partial(strangers, seeds=FRESH),
    "relatives": relatives,
    "families": families,
    "scores": scores,
}

if __name__ == "__main__":
    one_quiet_thread()
    kept = Rows(Path(__file__).parent / "results" / "relate.jsonl")
    for part in sys.argv[1:] or PARTS:
        PARTS[part](kept)
