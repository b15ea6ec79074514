"""Every protection on the demonstration's expert: what it costs its owner, what merges give, and after each attack.

Skills are shares of held-out rows of the protected expert's task / of the partner's task.  Rows that are finished are
kept, so a run that was stopped goes on where it was.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mergebarrier as mb
from _keep import Rows, say
from mergebarrier import zoo
from mergebarrier.keys import Key
from mergebarrier.merge import make
from mergebarrier.protect import protection_named
from mergebarrier.realign import REALIGNMENTS

KEPT = Path(__file__).parent / "results" / "protections.jsonl"
ITEMS, TOKENS = 50, 2048
#: row -> method and parameters; without a method the expert as it is.
ROWS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "none": ("", {}),
    "exact": ("exact", {}),
    "mergebarrier": ("mergebarrier", {}),
    "params": ("params", {}),
    "mergelock": ("mergelock", {}),
    "params+mergelock": ("params+mergelock", {}),
}
#: column -> merge, its parameters, and the attack that comes first.
COLUMNS: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "TA .7": ("task_arithmetic", {"coefficient": 0.7}, ""),
    "TA 1": ("task_arithmetic", {"coefficient": 1.0}, ""),
    "TIES": ("ties", {}, ""),
    "SLERP .5": ("slerp", {"t": 0.5}, ""),
    "aga, TA .7": ("task_arithmetic", {"coefficient": 0.7}, "aga"),
    "gaugefix, TA .7": ("task_arithmetic", {"coefficient": 0.7}, "gaugefix"),
}


class Row:
    """A protection: its model, what attacks make of it, and how merges of these with the partner score."""

    def __init__(self, name: str, assets: zoo.DemoAssets, kept: Rows, work: Path) -> None:
        """Make nothing yet."""
        self.name, self.assets, self.kept, self.work = name, assets, kept, work

    def model(self) -> tuple[Path, float]:
        """Return the protected model and the processor seconds of protecting it, 0 where it was there."""
        method, parameters = ROWS[self.name]
        folder = self.work / "protected"
        if not method or folder.exists():
            return folder if method else self.assets.expert_a, 0.0
        protection, started = protection_named(method, parameters), time.process_time()
        mb.protect(self.assets.expert_a, folder, method=protection, key=Key(b"1" * 32) if protection.keyed else None)
        return folder, time.process_time() - started

    def attacked(self, attack: str) -> Path:
        """Return the model after an attack, "" for none."""
        folder = self.work / attack
        if not attack:
            return self.model()[0]
        if not folder.exists():
            mb.realign(self.model()[0], folder, base=self.assets.base, method=REALIGNMENTS[attack])
        return folder

    def alone(self) -> dict[str, float]:
        """Measure the owner's side."""
        folder, seconds = self.model()
        found = mb.evaluate(
            folder,
            tasks=[self.assets.task_a.test],
            text=self.assets.text_test,
            max_items=ITEMS,
            max_tokens=TOKENS,
        )
        assert found.text is not None
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        return {
            "skill": found.tasks[0].score.rate,
            "perplexity": found.text.perplexity.perplexity,
            "seconds": seconds,
            "MiB": size / 2**20,
        }

    def merged(self, column: str) -> dict[str, float]:
        """Measure a merge with the partner."""
        method, parameters, attack = COLUMNS[column]
        with tempfile.TemporaryDirectory(dir=self.work) as scratch:
            out = Path(scratch) / "merged"
            models = [self.attacked(attack), self.assets.expert_b]
            mb.merge(models, out, base=self.assets.base, method=make(method, **parameters))
            found = mb.evaluate(out, tasks=[self.assets.task_a.test, self.assets.task_b.test], max_items=ITEMS)
        ours, partners = (task.score.rate for task in found.tasks)
        return {"protected": ours, "partner": partners}

    def line(self) -> str:
        """Return the line of the table."""
        own = self.kept.get([self.name, "alone"], self.alone)
        cells = [self.name, f"{own['skill']:.2f}", f"{own['perplexity']:.2f}"]
        for column in COLUMNS:
            say(f"{self.name}: {column}")
            found = self.kept.get([self.name, column], lambda column=column: self.merged(column))
            cells.append(f"{found['protected']:.2f} / {found['partner']:.2f}")
        cells += [f"{own['seconds']:.1f}", f"{own['MiB']:.0f}"]
        return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    assets, kept = zoo.demo_assets(), Rows(KEPT)
    print(
        f"SmolLM2-135M and two experts; one key, {ITEMS} rows a task, perplexity on {TOKENS} tokens; seconds of one run"
    )
    print("are processor time of `protect`.  Skills: protected expert's task / partner's task.\n")
    heads = ["protection", "alone", "perplexity", *COLUMNS, "seconds", "MiB"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name in ROWS:
        with tempfile.TemporaryDirectory() as work:
            print(Row(name, assets, kept, Path(work)).line(), flush=True)


if __name__ == "__main__":
    main()
