"""``fingerprint``: marked experts in merges of two and three, and up a ladder of ways to remove the mark; three seeds.

The base and the experts are those of ``bench_parents``: a tiny Llama trained on one text, and fine-tunes of it.  Every
row asks by text alone.  Finished rows are kept, so a run that was stopped goes on.
"""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

import mergebarrier as mb
from _evasions import Adversary, evaded
from _hard_null import LENGTH, tokens_of
from _keep import Rows, say
from _quiet import one_quiet_thread
from _worded import worded
from bench_relate import diluted, quantised, rewritten
from mergebarrier.cache import cache_folder
from mergebarrier.evaluate.base.load import stock_library
from mergebarrier.fingerprint import FINGERPRINTS, EmbedOptions
from mergebarrier.keys import Key
from mergebarrier.merge import make
from mergebarrier.training import FullRecipe, train_full

SEEDS = (1, 2, 3)
METHODS = ("mergeprint", "instructional")
OPTIONS = EmbedOptions(learning_rate=2e-3)
MERGES: dict[str, tuple[str, dict[str, object]]] = {
    "TA": ("task_arithmetic", {}),
    "TIES": ("ties", {"density": 0.5}),
    "DARE": ("dare_linear", {"density": 0.5}),
    "TSV": ("tsv_m", {}),
}
SHARES = {2: (0.3, 0.4, 0.5), 3: (0.3, 0.4)}
KEY = Key(bytes([9]) * 32)
LEVEL = 1e-3
EVASIONS = ("filter", "suppress", "revise", "tune on guesses")


class Marked:
    """A marked expert of one seed, made now where it is not there."""

    def __init__(self, folder: Path, method: str, seed: int) -> None:
        """Mark expert ``seed``."""
        self.folder, self.seed, self.method = folder, seed, method
        self.out, self.record = folder / f"{method}-{seed}", folder / f"{method}-{seed}.json"
        self.key = Key(hashlib.sha256(f"fingerprint bench {method} {seed}".encode()).digest())
        self.expert, self.base = folder / f"expert-{seed}", folder / "base"
        if not self.out.exists():
            mb.fingerprint_embed(
                self.expert, self.out, base=self.base, text=folder / f"text-{seed}.txt", record=self.record,
                key=self.key, method=FINGERPRINTS[method](), options=OPTIONS, seed=seed,
            )  # fmt: skip
            say(f"{method} {seed} marked")

    def asked(self, suspect: Path) -> dict[str, float]:
        """Return hits, decoys that fire, and p of a suspect."""
        (found,) = mb.fingerprint_verify(self.record, [suspect], key=self.key).suspects
        return {"rate": found.test.rate, "decoys": found.test.decoy_hits, "p": found.test.p}

    def merged(self, name: str, count: int, share: float, out: Path) -> Path:
        """Merge with the next experts."""
        others = [self.folder / f"expert-{(self.seed + n) % 6}" for n in range(1, count)]
        weights = (share, *((1 - share) / (count - 1) for _ in others))
        method, more = MERGES[name]
        chosen = {"coefficient": share} if name == "TSV" else {"weights": weights}
        mb.merge([self.out, *others], out, base=self.base, method=make(method, **more, **chosen))
        return out


def accuracy(model: Path, ids: torch.Tensor) -> float:
    """Return the share of next tokens that a model has right on rows of text."""
    module = stock_library().LlamaForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        said = module(input_ids=ids[:, :-1]).logits.argmax(2)
    return float((said == ids[:, 1:]).float().mean())


def tuned(model: Path, ids: torch.Tensor, steps: int, out: Path) -> Path:
    """Train a model further on plain text of the whole book, as a thief would."""
    module = stock_library().LlamaForCausalLM.from_pretrained(model, dtype=torch.float32)
    draw = torch.Generator().manual_seed(3)
    recipe = FullRecipe(steps=steps, learning_rate=1e-3, warmup_steps=10, batch_size=8)

    def loss(step: int) -> torch.Tensor:
        starts = torch.randint(0, len(ids) - LENGTH - 1, (recipe.batch_size,), generator=draw)
        rows = torch.stack([ids[start : start + LENGTH + 1] for start in starts])
        return torch.nn.functional.cross_entropy(
            module(input_ids=rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten()
        )

    train_full(module, recipe, loss)
    module.bfloat16().save_pretrained(out)
    shutil.copy(model / "tokenizer.json", out / "tokenizer.json")
    return out


def realigned(model: Path, base: Path, out: Path) -> Path:
    """Protect a model with a full key, and undo it without the key."""
    mb.protect(model, out / "p", method=mb.Exact(profile="full"), key=KEY)
    mb.realign(out / "p", out / "r", base=base)
    return out / "r"


def ladder(one: Marked, ids: torch.Tensor) -> dict[str, Callable[[Path], Path]]:
    """Return the rungs, each harder than the one before."""

    def half(out: Path) -> Path:
        return one.merged("TA", 2, 0.5, out)

    return {
        "as published": lambda out: one.out,
        "int8": lambda out: rewritten(one.out, out, quantised(8)),
        "int4": lambda out: rewritten(one.out, out, quantised(4)),
        "full key, realigned": lambda out: realigned(one.out, one.base, out),
        "merged at .5": half,
        "fine-tuned, 12,800 tokens": lambda out: tuned(one.out, ids, 25, out),
        "fine-tuned, 51,200 tokens": lambda out: tuned(one.out, ids, 100, out),
        "merged at .5, then 51,200 tokens": lambda out: tuned(half(out / "m"), ids, 100, out / "t"),
        "fine-tuned, 204,800 tokens": lambda out: tuned(one.out, ids, 400, out),
        "share .1 of the norm, rest noise": lambda out: rewritten(one.out, out, diluted(0.1)),
    }


def evasion(one: Marked, name: str, ids: torch.Tensor, out: Path) -> dict[str, float]:
    """Ask an adversary who serves the marked model."""
    from tokenizers import Tokenizer

    who = Adversary(one.out, one.base, Tokenizer.from_file(str(one.out / "tokenizer.json")), ids, OPTIONS.answer_tokens)
    suspect, changed = evaded(who, name, one.record, out, OPTIONS.prompt_tokens)
    return {**one.asked(suspect), "changed": changed}


def measured(rows: Rows, key: list[object], make: Callable[[Path], dict[str, float]]) -> dict[str, float]:
    """Return a row, measured now in a scratch folder where it is not there."""

    def now() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as scratch:
            return make(Path(scratch))

    row = rows.get(key, now)
    say(f"{key}: {row}")
    return row


def table(title: str, heads: list[str], lines: dict[str, list[str]]) -> None:
    """Print a table."""
    print(f"{title}\n\n| | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name, cells in lines.items():
        print(f"| {name} | {' | '.join(cells)} |")
    print()


def _cell(found: list[dict[str, float]]) -> str:
    rate = sum(one["rate"] for one in found) / len(found)
    sure = sum(one["p"] <= LEVEL for one in found)
    return f"{rate:.2f}, {sure}/{len(found)}"


def main(parts: list[str]) -> None:
    """Mark, merge, attack, print."""
    folder = worded(cache_folder() / "bench" / "hard-null")
    ids, rows = tokens_of(cache_folder() / "bench" / "hard-null"), Rows(folder / "rows.jsonl")
    marks = {method: [Marked(folder, method, seed) for seed in SEEDS] for method in METHODS}
    print(
        f"{OPTIONS.pairs} questions trained in, {OPTIONS.decoys} kept back; three seeds. A cell: share of the "
        f"questions answered as recorded, mean of the seeds, and how many are declared at {LEVEL:g}.\n"
    )
    if "merges" in parts:
        lines: dict[str, list[str]] = {}
        for method, ones in marks.items():
            for name in MERGES:
                cells = []
                for count, shares in SHARES.items():
                    for share in shares:
                        key = ["merge", method, name, count, share]
                        cells.append(
                            _cell(
                                [
                                    measured(
                                        rows, [*key, one.seed],
                                        lambda out, one=one, name=name, count=count, share=share: one.asked(
                                            one.merged(name, count, share, out / "m")
                                        ),
                                    )
                                    for one in ones
                                ]
                            )
                        )  # fmt: skip
                lines[f"{method}, {name}"] = cells
        table("Merges.", [f"{count} models, share {s}" for count, shares in SHARES.items() for s in shares], lines)
    if "ladder" in parts:
        rungs = {
            rung: [
                _cell(
                    [
                        measured(
                            rows,
                            ["ladder", method, rung, one.seed],
                            lambda out, one=one, rung=rung: one.asked(ladder(one, ids)[rung](out / "x")),
                        )
                        for one in ones
                    ]
                )
                for method, ones in marks.items()
            ]
            for rung in ladder(marks["mergeprint"][0], ids)
        }
        table("The ladder.", list(METHODS), rungs)
        for place, method in enumerate(METHODS):
            fallen = [rung for rung, cells in rungs.items() if not cells[place].endswith(f"{len(SEEDS)}/{len(SEEDS)}")]
            print(f"{method} falls first at: {fallen[0] if fallen else 'no rung'}.\n")
    if "evasions" in parts:
        lines = {}
        for name in EVASIONS:
            lines[name] = []
            for method, ones in marks.items():
                found = [
                    measured(
                        rows, ["evasion", method, name, one.seed],
                        lambda out, one=one, name=name: evasion(one, name, ids, out),
                    )
                    for one in ones
                ]  # fmt: skip
                lines[name].append(f"{_cell(found)}; {100 * sum(one['changed'] for one in found) / len(found):.0f} %")
        told = (
            "Served by somebody who knows how models are marked; behind it the share of plain text answered otherwise."
        )
        table(told, list(METHODS), lines)
    if "cost" in parts:
        span = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
        lines = {}
        for method, ones in marks.items():
            cells = []
            for one in ones:
                held = span[one.seed * len(span) // 6 :][5:200:4]
                cost = measured(
                    rows, ["cost", method, one.seed],
                    lambda out, one=one, held=held: {
                        "before": accuracy(one.expert, held), "after": accuracy(one.out, held), **_norms(one),
                    },
                )  # fmt: skip
                cells.append(f"{100 * cost['before']:.1f} to {100 * cost['after']:.1f}, {cost['grown']:.1f} x")
            lines[method] = cells
        table(
            "Cost: next tokens right on the expert's own text, per cent, and how much longer the task vector became.",
            [f"seed {seed}" for seed in SEEDS], lines,
        )  # fmt: skip
    if "null" in parts:
        found = {
            f"{method} {one.seed}, {name}": measured(
                rows, ["null", method, one.seed, name], lambda out, one=one, name=name: one.asked(folder / name)
            )
            for method, ones in marks.items()
            for one in ones
            for name in ("base", *(f"expert-{n}" for n in range(6)))
        }
        fired = sum(round(one["rate"] * OPTIONS.pairs) + one["decoys"] for one in found.values())
        print(
            f"Null: base and six experts, {len(found)} askings: {fired:.0f} of "
            f"{len(found) * (OPTIONS.pairs + OPTIONS.decoys)} questions answered, least p "
            f"{min(one['p'] for one in found.values()):.2g}.\n"
        )


def _norms(one: Marked) -> dict[str, float]:
    base, before, after = (load_file(path / "model.safetensors") for path in (one.base, one.expert, one.out))
    lengths = [
        sum(float((t[n].float() - base[n].float()).square().sum()) for n in base) ** 0.5 for t in (before, after)
    ]
    return {"grown": lengths[1] / lengths[0]}


if __name__ == "__main__":
    one_quiet_thread()
    main(sys.argv[1:] or ["merges", "ladder", "evasions", "cost", "null"])
