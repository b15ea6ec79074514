"""Trained protections of SmolLM2, as a publisher would train them, and what the audit's attackers recover.

    python benchmarks/bench_trained_smollm2.py [--seeds 0 1 2] [--only LINE] [--official ADAPTER NAME]... [--print]

Each protection is one run of ``mergebarrier protect`` in a process of its own, whose processor time and memory are
kept.  The protected expert answers tickets, the partner tells colours of things, and no training saw the partner.
``--official`` adds an adapter that the published code of Trap^2 trained (`make_official_trap2.py`).  Finished lines
are kept in benchmarks/results/trained_smollm2.jsonl; trained models and cells of a line that was stopped stand in the
temporary folder, and the next run goes on with them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import _trained_tables
from _attacked import attacked
from _keep import Rows, say
from bench_ladder import SharedRows
from mergebarrier import zoo
from mergebarrier.audit import AuditSpec
from mergebarrier.audit.bench import published
from mergebarrier.audit.ladder import LEVELS

KEPT = Path(__file__).parent / "results" / "trained_smollm2.jsonl"
WORK = Path(tempfile.gettempdir()) / "mergebarrier-trained-smollm2"
COLUMNS = ("shared", "grid", "smooth", "learn")
#: Those tuners of level 6 whose columns are shown.
TUNERS = [tuner for tuner in LEVELS[6].tuners if tuner.name in ("grid", *COLUMNS)]
PAID: Mapping[str, Any] = {"steps": 60, "check-every": 20, "budget": 10}
ADAPTER: Mapping[str, Any] = {**PAID, "as": "adapter", "rank": 8}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table: a method and its options on the command line; none for the expert as it is."""

    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    flags: Sequence[str] = ()


LINES: Mapping[str, Line] = {
    "none": Line(),
    "trap2": Line(method="trap2", options={**ADAPTER, "strength": 0.15}),
    "mergeguard, beta 2": Line(method="mergeguard", options={**PAID, "beta": 2}),
    "mergeguard, beta 1": Line(method="mergeguard", options={**PAID, "beta": 1}),
    "matched control": Line(method="trap2", options={**ADAPTER, "strength": 0, "strength-ceiling": 0}),
    "trap2, as published": Line(method="trap2", options=ADAPTER, flags=("--as-published",)),
    "layered": Line(method="layered", options=ADAPTER),
    "arf": Line(method="arf", options={**PAID, "budget": 100}),
}


def trained(name: str, seed: int) -> tuple[Path, dict[str, Any]]:
    """Run ``protect``, or go on with a run that was stopped; return the folder and what the run reports and cost."""
    line, assets, out = LINES[name], zoo.demo_assets(), WORK / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    report = out.with_suffix(".json")
    if not report.exists():
        given = [f"--{option}={value}" for option, value in line.options.items()]
        command = [
            *(sys.executable, "-m", "mergebarrier", "protect", assets.expert_a, "--base", assets.base),
            *("--method", line.method, "--data", assets.task_a.train, "--text", assets.text_test, *given, *line.flags),
            *("--seed", seed, "--json", "-o", out),
        ]
        started = out.with_name(f"{out.name}.partial").exists()
        with report.with_suffix(".new").open("w") as answer:
            running = subprocess.Popen([*map(str, command), *(["--resume"] if started else [])], stdout=answer)
            _, code, used = os.wait4(running.pid, 0)
        if code:
            raise SystemExit(f"{name}, seed {seed}: protect ended with {os.waitstatus_to_exitcode(code)}")
        found = json.loads(report.with_suffix(".new").read_text())["trained"]
        found["seconds"], found["mib"] = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        found["whole"] = not started
        report.write_text(json.dumps(found))
    return out, json.loads(report.read_text())


def spec(protected: Path, seed: int) -> AuditSpec:
    """Return how hard the attackers try."""
    assets = zoo.demo_assets()
    return AuditSpec(
        protected=protected, original=assets.expert_a, base=assets.base, partner=assets.expert_b,
        task=assets.task_a.test, partner_task=assets.task_b.test, validation=assets.task_a.val,
        partner_validation=assets.task_b.val, work=WORK, settings=published(("task_arithmetic",)), levels=(0, 1, 2, 3),
        search_budget=12, smooth_evaluations=32, edit_evaluations=0, learn_steps=16, recover_samples=0,
        max_items=100, seed=seed,
    )  # fmt: skip


def measured(model: Path, training: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Attack one model; the unprotected one is attacked once."""
    started = time.process_time()
    found = attacked(spec(model, seed), SharedRows(WORK / "cells.jsonl"), TUNERS)
    about: dict[str, Any] = {}
    if training:
        cost = training["cost"]
        about = {
            "seconds": training["seconds"],
            "mib": training["mib"],
            "strength": training["strength"],
            "reached": training["displaced"]["protected"]["least"],
            **{name: [cost[side]["loss"], cost[side]["text"]] for name, side in
               (("plain", "plain"), ("after", "protected"), ("control", "control"))},
            "override": training["override"],
            "scales": training["scales"],
            "work": training["work"],
        }  # fmt: skip
    return {**found, "training": about, "attack seconds": time.process_time() - started}


def fill(kept: Rows, seeds: Sequence[int], only: str, official: Mapping[str, Path]) -> None:
    """Measure every line that is not there yet."""
    WORK.mkdir(exist_ok=True)
    for name, adapter in official.items():
        kept.get([name, 0], lambda adapter=adapter: measured(adapter, {}, 0))
    for seed in seeds:
        for name, line in LINES.items():
            if only in ("", name) and not kept.has([name, seed]) and (line.method or not seed):
                say(f"seed {seed}: {name}")
                model, training = trained(name, seed) if line.method else (zoo.demo_assets().expert_a, {})
                say(f"seed {seed}: {name} is attacked")
                kept.get([name, seed], lambda model=model, training=training, seed=seed:
                         measured(model, training, seed))  # fmt: skip


def main() -> None:
    """Fill what is asked for, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="the line of that name")
    parser.add_argument("--official", nargs=2, action="append", default=[], metavar=("ADAPTER", "NAME"))
    parser.add_argument("--print", action="store_true", help="measure nothing")
    given = parser.parse_args()
    kept = Rows(KEPT)
    if not given.print:
        fill(kept, given.seeds, given.only, {name: Path(adapter) for adapter, name in given.official})
    _trained_tables.show(kept, COLUMNS)
    print("\nA run of `mergebarrier protect`, its control and figures among it: means.\n")
    print("| protection | CPU seconds | memory, MiB |\n|---|---|---|")
    for name, rows in _trained_tables.lines(kept).items():
        training = [row["training"] for row in rows if row["training"]]
        if training:
            seconds, mib = (_trained_tables.mean([row[part] for row in training]) for part in ("seconds", "mib"))
            print(f"| {name} | {seconds:.0f} | {mib:.0f} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
