"""``provenance parents`` over merges by mergekit 0.1.5 and by us: shares, intervals, declarations, the recipe's name.

A tiny trained Llama is the base of six experts, three fine-tuned in full and three whose change was cut to rank 8, all
in bfloat16.  Each merge is taken apart with all experts as candidates, and those by us in bfloat16 and those of two by
mergekit again with one, two and three of their parents hidden.  Finished rows are kept, so a run that was stopped goes
on; "known", "hidden", "overlap" and "keys" run a part alone.
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

import mergebarrier as mb
from _hard_null import LENGTH, tokens_of, trained
from _hidden_overlap import print_overlap, products
from _keep import Rows, say
from _quiet import one_quiet_thread
from mergebarrier.cache import cache_folder
from mergebarrier.evaluate.base.load import stock_library
from mergebarrier.keys import Key
from mergebarrier.training import FullRecipe, train_full

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from peer_mergekit import mergekit_merge_all

EXPERTS, RANK = 6, 8
RECIPE = FullRecipe(steps=60, learning_rate=3e-4, warmup_steps=5, batch_size=8)
#: Name -> (method of mergekit, density, normalize, what it is called).
METHODS: dict[str, tuple[str, float, bool | None, str]] = {
    "task_arithmetic": ("task_arithmetic", 1.0, None, "task_arithmetic"),
    "linear": ("linear", 1.0, False, "task_arithmetic"),
    "ties": ("ties", 0.5, False, "ties"),
    "ties, normalized": ("ties", 0.4, True, "ties"),
    "breadcrumbs": ("breadcrumbs", 0.6, None, "breadcrumbs"),
    "dare_linear": ("dare_linear", 0.5, None, "dare_linear"),
}
DRAWS = 2
LEVEL = 1e-3


@dataclass(frozen=True)
class Case:
    """A merge: who made it, how, of whom."""

    maker: str
    method: str
    shares: tuple[tuple[int, float], ...]
    dtype: str

    @property
    def key(self) -> list[object]:
        """Return what its rows are kept by."""
        return [self.maker, self.method, self.dtype, [list(one) for one in self.shares]]


def cases() -> Iterator[Case]:
    """Yield every merge; shares are drawn from .2 to .6, to two digits."""
    draw = torch.Generator().manual_seed(29)
    for maker in ("mergekit", "mergebarrier"):
        for method in METHODS:
            for count in (2, 3, 4):
                for number in range(DRAWS):
                    chosen = sorted(torch.randperm(EXPERTS, generator=draw)[:count].tolist())
                    drawn = [round(0.2 + 0.4 * float(one), 2) for one in torch.rand(count, generator=draw)]
                    dtype = "float32" if maker == "mergebarrier" and number else "bfloat16"
                    yield Case(maker, method, tuple(zip(chosen, drawn, strict=True)), dtype)


def experts(folder: Path) -> Path:
    """Make the base and its experts where they are not there, and return their folder."""
    out, transformers = folder / "experts", stock_library()
    (start,) = trained(folder, range(1))
    if not (out / "base").exists():
        transformers.LlamaForCausalLM.from_pretrained(start, dtype=torch.bfloat16).save_pretrained(out / "base")
    ids = tokens_of(folder)
    for number in range(EXPERTS):
        if (out / f"expert-{number}").exists():
            continue
        module = transformers.LlamaForCausalLM.from_pretrained(out / "base", dtype=torch.float32)
        module.model.embed_tokens.weight.requires_grad_(False)
        before = {name: one.detach().clone() for name, one in module.named_parameters()}
        draw = torch.Generator().manual_seed(50 + number)
        low, high = number * len(ids) // EXPERTS, (number + 1) * len(ids) // EXPERTS - LENGTH - 1

        def loss(
            step: int,
            module: torch.nn.Module = module,
            draw: torch.Generator = draw,
            span: tuple[int, int] = (low, high),
        ) -> torch.Tensor:
            starts = torch.randint(*span, (RECIPE.batch_size,), generator=draw)
            rows = torch.stack([ids[start : start + LENGTH + 1] for start in starts])
            logits = module(input_ids=rows[:, :-1]).logits
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())

        train_full(module, RECIPE, loss)
        with torch.no_grad():
            for name, one in module.named_parameters():
                if number % 2 and one.dim() == 2:
                    u, s, v = torch.linalg.svd(one - before[name], full_matrices=False)
                    one.copy_(before[name] + (u[:, :RANK] * s[:RANK]) @ v[:RANK])
        module.bfloat16().save_pretrained(out / f"expert-{number}")
        say(f"expert {number}")
    return out


def recipe(case: Case, folder: Path) -> dict[str, object]:
    """Return a merge as mergekit reads it."""
    method, density, normalize, _ = METHODS[case.method]
    shares = list(case.shares)
    extra = {} if density == 1.0 else {"density": density}
    models = [{"model": str(folder / f"expert-{n}"), "parameters": {"weight": w, **extra}} for n, w in shares]
    found: dict[str, object] = {"merge_method": method, "models": models, "dtype": case.dtype}
    if method == "linear":
        left = round(1 - sum(w for _, w in shares), 2)
        models.append({"model": str(folder / "base"), "parameters": {"weight": left}})
    else:
        found["base_model"] = str(folder / "base")
    if normalize is not None:
        found["parameters"] = {"normalize": normalize}
    return found


def made(folder: Path, todo: list[Case]) -> None:
    """Make the merges that are not there, those of mergekit in one process."""
    jobs = [(recipe(case, folder), folder / _name(case)) for case in todo if case.maker == "mergekit"]
    jobs = [job for job in jobs if not job[1].exists()]
    if jobs:
        mergekit_merge_all(jobs)
    for case in todo:
        out = folder / _name(case)
        if case.maker == "mergebarrier" and not out.exists():
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / "recipe.yaml"
                path.write_text(yaml.safe_dump(recipe(case, folder)), encoding="utf-8")
                mb.merge(recipe=path, out=out)


def _name(case: Case) -> str:
    words = [case.maker, case.method.replace(", ", "-"), case.dtype, *(f"{n}x{w}" for n, w in case.shares)]
    return "_".join(words)


def taken_apart(case: Case, folder: Path, hidden: int, suspect: Path | None = None) -> dict[str, object]:
    """Return what is found with the first ``hidden`` parents left out of the candidates."""
    gone = [n for n, _ in case.shares[:hidden]]
    candidates = [n for n in range(EXPERTS) if n not in gone]
    report = mb.provenance_parents(
        suspect or folder / _name(case),
        base=folder / "base",
        candidates=[folder / f"expert-{n}" for n in candidates],
    )
    return {
        "shares": [one.share for one in report.candidates],
        "low": [one.low for one in report.candidates],
        "high": [one.high for one in report.candidates],
        "declared": [one.name in report.declared for one in report.candidates],
        "least_squares": [one.least_squares for one in report.candidates],
        "candidates": candidates,
        "method": report.recipe.method,
        "density": report.recipe.density,
        "mean": report.recipe.mean,
        "settled": report.settled,
        "same": report.same_frac,
        "unexplained": report.unexplained.share,
    }


def truth(case: Case, candidates: list[int]) -> list[float]:
    """Return the shares of the candidates; of a merge that divides by its weights, with sum 1."""
    known = dict(case.shares)
    total = sum(known.values()) if METHODS[case.method][2] else 1.0
    return [known.get(n, 0.0) / total for n in candidates]


def table(title: str, groups: dict[str, list[tuple[Case, dict[str, object]]]]) -> None:
    """Print what was right, per group of merges."""
    print(f"{title}\n")
    print(
        "| merge | merges | error of shares, mean | worst | by least squares | intervals that cover "
        "| width, median | declared of parents | declared of others | method right | same bits, median |\n"
        f"|{'---|' * 11}"
    )
    for name, found in groups.items():
        errors, plain, covered, widths, hits, false, right, same = [], [], [], [], [], [], [], []
        for case, row in found:
            told = METHODS[case.method]
            right.append(
                row["method"] == told[3] and (told[2] is not True or row["mean"]) and row["density"] == told[1]
            )
            same.append(row["same"])
            for j, share in enumerate(truth(case, row["candidates"])):
                covered.append(row["low"][j] - 1e-6 <= share <= row["high"][j] + 1e-6)
                widths.append(row["high"][j] - row["low"][j])
                (hits if share else false).append(row["declared"][j])
                if share:
                    errors.append(abs(row["shares"][j] - share))
                    plain.append(abs(row["least_squares"][j] - share))
        print(
            f"| {name} | {len(found)} | {sum(errors) / len(errors):.3f} | {max(errors):.3f} | "
            f"{sum(plain) / len(plain):.3f} | "
            f"{sum(covered)}/{len(covered)} | {sorted(widths)[len(widths) // 2]:.3f} | "
            f"{sum(hits)}/{len(hits)} | {sum(false)}/{len(false)} | "
            f"{sum(right)}/{len(right)} | {sorted(same)[len(same) // 2]:.3f} |"
        )
    print()


def main(parts: list[str]) -> None:
    """Make, take apart, print."""
    folder = experts(cache_folder() / "bench" / "hard-null")
    rows, listed = Rows(cache_folder() / "bench" / "parents-fitted.jsonl"), list(cases())
    # A share is not defined where the sum that weights are divided by is not known.
    told = [
        case
        for case in listed
        if not METHODS[case.method][2] and case.dtype == "bfloat16"
        and (case.maker == "mergebarrier" or len(case.shares) == 2)
    ]  # fmt: skip
    shown = {0: ("All parents among the candidates.", listed)} if "known" in parts else {}
    if "hidden" in parts:
        shown |= {
            hidden: (
                f"Parents hidden: {hidden}, of {hidden + 1} to 4.",
                [one for one in told if len(one.shares) > hidden],
            )
            for hidden in (1, 2, 3)
        }
    print(f"Merges of {EXPERTS} experts; shares .2 to .6; declared at {LEVEL:g}.\n")
    for hidden, (title, chosen) in shown.items():
        made(folder, [case for case in chosen if not rows.has([*case.key, hidden])])
        groups: dict[str, list[tuple[Case, dict[str, object]]]] = {}
        for number, case in enumerate(chosen):
            row = rows.get([*case.key, hidden], lambda case=case, hidden=hidden: taken_apart(case, folder, hidden))
            groups.setdefault(f"{case.method}, {case.maker}, {case.dtype}", []).append((case, row))
            say(f"{title} {number + 1}/{len(chosen)}")
        table(title, groups | {"all": [one for group in groups.values() for one in group]})
    if "overlap" in parts:
        print_overlap(
            products(folder / "base", [folder / f"expert-{n}" for n in range(EXPERTS)]), [one.shares for one in told]
        )
    if "keys" in parts:
        behind_keys(folder, rows, listed[:: 2 * DRAWS])


def behind_keys(folder: Path, rows: Rows, chosen: list[Case]) -> None:
    """Take apart suspects that were protected."""
    made(folder, chosen)
    keyed: dict[str, list[tuple[Case, dict[str, object]]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for case in chosen:
            for profile in ("lossless", "full"):
                out = Path(scratch) / f"{_name(case)}-{profile}"

                def behind(case: Case = case, profile: str = profile, out: Path = out) -> dict[str, object]:
                    mb.protect(folder / _name(case), out, key=Key(bytes([5]) * 32), method=mb.Exact(profile=profile))
                    return taken_apart(case, folder, 0, out)

                keyed.setdefault(f"behind {profile} keys", []).append((case, rows.get([*case.key, profile], behind)))
    table("Suspects that were protected, all parents among the candidates.", keyed)


if __name__ == "__main__":
    one_quiet_thread()
    main(sys.argv[1:] or ["known", "hidden", "overlap", "keys"])
