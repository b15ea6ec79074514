"""The whole ladder on the demonstration's expert: what every protection leaves of merges, level by level, 0 to 6.

Every audit is an ``AuditSpec``, run as ``mergebarrier audit`` runs it, on small budgets.  Rows are named by what their
figures depend on, so audits share the unprotected model's and a run that was stopped goes on where it was.  First every
protection with one key and one seed up to level 3, then up to level 4, then a second key up to there, then all up to
level 6, then further keys and seeds up to level 2, where coordinates fall, and then on.  Names of protections fill
these alone; ``--print`` shows what there is.  Audits of the first key and seed have a page beside their result, and a
leaderboard.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import mergebarrier as mb
from _keep import asked, say
from _ladder_tables import tables
from mergebarrier import zoo
from mergebarrier.api import compare_reports
from mergebarrier.audit import AuditSpec, MergeSetting, run_audit
from mergebarrier.errors import MergebarrierError
from mergebarrier.keys import Key
from mergebarrier.protect import protection_named
from mergebarrier.report import render_html
from mergebarrier.results import Cell, Measurement, row_from_json, to_json

RESULTS = Path(__file__).parent / "results"
KEPT, REPORTS = RESULTS / "ladder.jsonl", RESULTS / "ladder"
WORK = Path(tempfile.gettempdir()) / "mergebarrier-ladder"
KEYS, SEEDS = 3, 3
#: One published setting of each merge, the one that is best without a protection.
GRID = {"linear": 0.5, "task_arithmetic": 0.7, "ties": 0.7, "dare_linear": 0.7, "dare_ties": 0.7, "slerp": 0.5}
ALL = tuple(range(7))
#: What an audit is granted here; the defaults of the command line are several times as much.
BUDGETS = {
    "search_budget": 3,
    "smooth_evaluations": 8,
    "edit_evaluations": 0,
    "learn_steps": 3,
    "rebasin_steps": 4,
    "recover_samples": 100,
    "max_items": 48,
    "barrier_items": 16,
    "points": 3,
    "compare_tokens": 128,
    "aga_settings": 0,
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row: a method with its parameters; none for the unprotected model."""

    method: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def keyed(self) -> bool:
        """Whether keys differ."""
        return bool(self.method) and protection_named(self.method, self.parameters).keyed


LINES: Mapping[str, Line] = {
    "unprotected": Line(),
    "exact": Line(method="exact"),
    "mergebarrier, attention": Line(method="mergebarrier"),
    "params": Line(method="params"),
    "mergelock": Line(method="mergelock"),
    "widen": Line(method="widen"),
    "mergebarrier, full": Line(method="mergebarrier", parameters={"ffn": "poly"}),
}


class SharedRows:
    """Rows of all audits in one file; of a mix only the mean coefficients are kept, which is what a report shows.

    What another run of this bench has finished meanwhile is found as well.
    """

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self._path, self._read, self._used = path, 0, dict[str, Cell | Measurement]()
        self._rows = dict[str, Cell | Measurement]()

    def _look(self) -> None:
        """Read what is new; a line that a crash cut off, or that is being written, is not."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if line.endswith(b"\n"):
                        self._read += len(line)
                        row = row_from_json(line, where=self._path.name)
                        self._rows[row.row_id] = row

    def find(self, row_id: str) -> Cell | Measurement | None:
        """Return a finished row."""
        if row_id not in self._rows:
            self._look()
        row = self._rows.get(row_id)
        if row is not None:
            self._used[row_id] = row
        return row

    def add(self, row: Cell | Measurement) -> None:
        """Keep a row; it is on the disk when this returns."""
        if isinstance(row, Cell):
            row = replace(row, parameters={name: at for name, at in row.parameters.items() if name != "coefficients"})
        self._rows[row.row_id] = self._used[row.row_id] = row
        with self._path.open("ab") as file:
            file.write(to_json(row).encode())
            file.flush()
            os.fsync(file.fileno())

    @property
    def used(self) -> list[Cell | Measurement]:
        """Rows that were found or added."""
        return list(self._used.values())


def protected(name: str, key: int, folder: Path) -> Path:
    """Return the expert under a protection and a key, made where it is not there."""
    line, assets, out = (
        LINES[name],
        zoo.demo_assets(),
        folder / (f"{folder.name}-{key}" if LINES[name].method else name),
    )
    if not out.exists() and not line.method:
        shutil.copytree(assets.expert_a, out)  # a page names a model by its folder
    elif not out.exists():
        method = protection_named(line.method, line.parameters)
        owned = Key(bytes([key]) * 32) if method.keyed else None
        mb.protect(assets.expert_a, out, method=method, key=owned, text=assets.text_train if line.parameters else None)
    return out


def another_base(folder: Path) -> Path:
    """Return a model of the base's shapes that is no relative of the experts: its layers in reverse."""
    base, out = zoo.demo_assets().base, folder / "another-base"
    if not out.exists():
        tensors = load_file(base / "model.safetensors")
        last = max(int(name.split(".")[2]) for name in tensors if ".layers." in name)

        def turned(name: str) -> str:
            return re.sub(r"\.layers\.(\d+)\.", lambda found: f".layers.{last - int(found[1])}.", name)

        shutil.copytree(base, folder / "turning")
        save_file({turned(name): tensor for name, tensor in tensors.items()},
                  folder / "turning" / "model.safetensors", {"format": "pt"})  # fmt: skip
        (folder / "turning").rename(out)
    return out


def spec_of(name: str, key: int, seed: int, levels: tuple[int, ...], folder: Path) -> AuditSpec:
    """Return one audit; the first key is also held against the second, and against another base."""
    assets = zoo.demo_assets()
    first = (key, seed) == (1, 0)
    second = protected(name, key + 1, folder) if LINES[name].keyed and first else None
    return AuditSpec(
        protected=protected(name, key, folder),
        original=assets.expert_a,
        base=assets.base,
        partner=assets.expert_b,
        task=assets.task_a.test,
        partner_task=assets.task_b.test,
        work=folder / f"work-{key}",
        validation=assets.task_a.val,
        partner_validation=assets.task_b.val,
        settings=tuple(MergeSetting(merge, (("coefficient", c),)) for merge, c in GRID.items()),
        levels=levels,
        second=second,
        wrong_base=another_base(folder) if LINES[name].method and first else None,
        seed=seed,
        **BUDGETS,
    )


def audits(chosen: Iterable[str]) -> Iterator[tuple[str, int, int, tuple[int, ...]]]:
    """Yield every audit, what says most first."""
    names = [name for name in LINES if name in chosen]
    first, *further = sorted(product(range(1, KEYS + 1), range(SEEDS)), key=lambda one: (sum(one), one))
    rounds = [(first, 4), (first, 5), ((2, 0), 5), (first, len(ALL)), *((turn, 3) for turn in further)]
    rounds += [(turn, len(ALL)) for turn in further]
    for (key, seed), count in rounds:
        for name in names:
            if LINES[name].keyed or key == 1:
                yield name, key, seed, ALL[:count]


def report_of(name: str, key: int, seed: int) -> Path:
    """Return where the result of an audit is kept."""
    return REPORTS / f"{name.replace(', ', '-')}-key{key}-seed{seed}.json"


def finished(path: Path, levels: tuple[int, ...]) -> bool:
    """Whether an audit is there as far as it should go."""
    return path.exists() and len(json.loads(path.read_text())["levels"]) >= len(levels)


def main() -> None:
    """Fill the table, if asked to, and print what there is."""
    chosen = asked(LINES)
    REPORTS.mkdir(parents=True, exist_ok=True)
    for name, key, seed, levels in () if "--print" in sys.argv else audits(chosen):
        path, folder = report_of(name, key, seed), WORK / name.replace(", ", "-")
        if finished(path, levels):
            continue
        say(f"{name}, key {key}, seed {seed}, levels 0 to {levels[-1]}")
        (folder / f"work-{key}").mkdir(parents=True, exist_ok=True)
        rows = SharedRows(KEPT)
        try:
            result = run_audit(spec_of(name, key, seed, levels, folder), rows, say=say)
        except MergebarrierError as refused:
            say(f"{name} is left out: {refused}")
            continue
        path.write_text(to_json(result, indent=1), encoding="utf-8")
        if (key, seed) == (1, 0):
            path.with_suffix(".html").write_text(render_html(result, rows.used), encoding="utf-8")
        if key > 1:
            shutil.rmtree(folder / f"work-{key}")
    # Audits of other seeds have other rows, which a leaderboard does not compare.
    kept = [path for name in LINES if (path := report_of(name, 1, 0)).exists()]
    if kept:
        (REPORTS / "leaderboard.html").write_text(compare_reports(kept).render("html"), encoding="utf-8")
    print(tables(REPORTS))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
