"""``provenance relate``: strangers of one data set, relatives behind every key and change, and scores of others beside.

The hard null is trained here (``_hard_null``); relatives are the zoo's language model and its expert, and tiny models
of ten families.  Finished rows are kept, so a run that was stopped goes on; arguments choose among the parts.
"""

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
from mergebarrier.protect import PROTECTIONS

MODELS = 24
KEY = Key(bytes([7]) * 32)
TEN = ("llama", "qwen3", "gemma2", "phi3", "gpt2", "gpt_neox", "mixtral", "mamba", "bert", "t5")
PROTECTED = (
    "exact lossless",
    "exact full",
    *(name for name, kind in PROTECTIONS.items() if name != "exact" and kind.needs <= {"base"}),
)
SHARES = (0.5, 0.3, 0.2, 0.1)
RELATED_AT = 1e-3
Tensors = dict[str, torch.Tensor]


def strangers(rows: Rows) -> None:
    """Print how the p-values of unrelated pairs are spread, and what other scores say of the same pairs."""
    folder = cache_folder() / "bench" / "hard-null"
    pairs = itertools.combinations(trained(folder, range(MODELS)), 2)
    found = []
    for first, second in pairs:
        key = ["stranger", first.name, second.name]
        found.append(rows.get(key, lambda first=first, second=second: relate(first, second)))
    say(f"{len(found)} pairs of strangers")
    print(f"Strangers: {len(found)} pairs of {MODELS} tiny Llamas of one configuration, data and order of data.\n")
    print("| test | p-values | KS p | mean | < .05 | < .01 | least |\n|---|---|---|---|---|---|---|")
    tests = {name: [row["tests"][name] for row in found if name in row["tests"]] for name in found[0]["tests"]}
    tests["stored, per layer"] = [float(norm.sf(z)) for row in found for z in row["stored_z"]]
    tests["numbered, per layer"] = [float(norm.sf(z)) for row in found for z in row["numbered_z"]]
    tests["layer, of three z"] = [p for row in found for p in row["layer_p"]]
    tests["all together (5 x least)"] = [row["p"] for row in found]
    for name, ps in tests.items():
        shares = [sum(p < level for p in ps) / len(ps) for level in (0.05, 0.01)]
        print(
            f"| {name} | {len(ps)} | {kstest(ps, 'uniform').pvalue:.2g} | {sum(ps) / len(ps):.2f} | {shares[0]:.3f} | "
            f"{shares[1]:.3f} | {min(ps):.2g} |"
        )
    false = sum(row["p"] <= RELATED_AT for row in found)
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
    made = kind(profile=profile) if profile else kind()
    mb.protect(model, out, method=made, key=KEY if kind.keyed else None, base=base if "base" in kind.needs else None)
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


CHANGES: dict[str, Callable[[str, torch.Tensor], torch.Tensor]] = {
    **{f"int{bits}": quantised(bits) for bits in (8, 4, 3, 2)},
    **{f"{share:.0%} pruned": pruned(share) for share in (0.5, 0.8, 0.95)},
    **{f"share .{share * 10:.0f} of the norm, rest noise": diluted(share) for share in SHARES},
    "embedding replaced": diluted(0.0, "embed_tokens"),
    "layers replaced": diluted(0.0, "layers"),
    "all replaced": diluted(0.0),
}


def relatives(rows: Rows) -> None:
    """Print what is found of the zoo's expert behind every key, and after what may follow the key."""
    base, expert = zoo.fetch("smollm2"), zoo.fetch("expert-tickets")
    print("Relatives: an expert of SmolLM2-135M against its base.\n")
    print("| suspect | p | embeddings | layers | stored order | k4 | z |\n|---|---|---|---|---|---|---|")
    print(_line("the expert", rows.get(["relative", "plain"], lambda: relate(expert, base))))
    with tempfile.TemporaryDirectory() as scratch:
        for name in PROTECTED:
            out = Path(scratch) / name.replace(" ", "-")
            row = rows.get(
                ["relative", name], lambda name=name, out=out: relate(protected(expert, base, name, out), base)
            )
            print(_line(name, row))
    with tempfile.TemporaryDirectory() as scratch:
        keyed = Path(scratch) / "keyed"
        for name, change in CHANGES.items():

            def measure(
                name: str = name, change: Callable[[str, torch.Tensor], torch.Tensor] = change
            ) -> dict[str, object]:
                if not keyed.exists():
                    protected(expert, base, "exact full", keyed)
                with tempfile.TemporaryDirectory() as inner:
                    return relate(rewritten(keyed, Path(inner) / "out", change), base)

            print(_line(f"exact full, then {name}", rows.get(["relative", "exact full", name], measure)))
    print()


def _line(name: str, row: dict[str, object]) -> str:
    p = float(row["p"])
    shown = f"{p:.1g}" if p > 1e-300 else "< 1e-300"
    related, layers = row["layers"]
    k4 = "-" if row["k4"] is None else f"{row['k4']:.1f}"
    found = f"{row['embeddings']} | {related}/{layers} | {row['stored_order']}"
    return f"| {name} | {shown} | {found} | {k4} | {row['z']:.1f} |"


def families(rows: Rows) -> None:
    """Print how many keyed fine-tunes of tiny random models of ten families are found, and how many strangers."""
    print("Ten families, tiny random models, a fine-tune of 10 % of every tensor against its base.\n")
    print(f"| family | {' | '.join(PROTECTED)} | stranger |\n|---|{'---|' * (len(PROTECTED) + 1)}")
    for family in TEN:
        row = rows.get(["family", family], lambda family=family: _family(family))
        cells = [one if isinstance(one, str) else f"{max(one, 1e-300):.0e}" for one in row.values()]
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
        for method in PROTECTED:
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
            print(f"| {name} | {max(row['p'], 1e-300):.1g} | {' | '.join(cells)} |")


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


PARTS = {"strangers": strangers, "relatives": relatives, "families": families, "scores": scores}

if __name__ == "__main__":
    one_quiet_thread()
    kept = Rows(cache_folder() / "bench" / "relate.jsonl")
    for part in sys.argv[1:] or PARTS:
        PARTS[part](kept)
