"""What every attacker of the audit gets out of a trained protection, column by column, and what the model is alone."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from mergebarrier.audit import AuditSpec, states
from mergebarrier.audit.bench import OURS, TASKS, THEIRS, Bench, MeasurementJournal, recovery
from mergebarrier.audit.ladder import LEVELS, climb
from mergebarrier.audit.ladder.tuner import Tuner
from mergebarrier.audit.metrics import alike
from mergebarrier.audit.run import context_of
from mergebarrier.evaluate import exact_match, load_module, load_tokenizer
from mergebarrier.results import Cell
from mergebarrier.training import RoundedWeights

#: Column -> the merges of its cells, by their names in the audit; "shared" are those at one coefficient for both.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "shared": (),
    "grid": ("task_arithmetic", "ties"),
    "edits": ("top-20", "top-50", "rank-4", "rank-12", "projection"),
    "smooth": ("smooth",),
    "learn": ("learn",),
    "recover-100": ("recover-100",),
    "recover-1000": ("recover-1000",),
}
EVERY_TUNER: Sequence[Tuner] = LEVELS[6].tuners


def attacked(spec: AuditSpec, journal: MeasurementJournal, tuners: Sequence[Tuner] = EVERY_TUNER) -> dict[str, Any]:
    """Let every attacker try on the published model; return RUFs by column, and what the model is by itself."""
    with ExitStack() as stack:
        bench = Bench(spec, journal, lambda line: None, stack, states=states())
        skills = {role: bench.reference(role) for role in ("base", "original", "protected", "partner")}
        context, _ = context_of(skills)
        found = climb(replace(LEVELS[1], tuners=tuple(tuners)), bench, context)
        rufs, best = {}, {}
        for column in COLUMNS:
            ours, theirs = (
                [cell for cell in cells if _column(cell) == column] for cells in (found.attacked, found.unprotected)
            )
            if not ours:
                continue
            one = recovery(ours, theirs, context.scales, context.trivial)
            rufs[column] = one.ruf
            best[column] = [
                [dict(cell.coefficients), cell.skill_protected.rate, cell.skill_partner.rate]
                for cell in (one.attacked, one.unprotected)
            ]
        alone = {task: skills["protected"][task].rate for task in TASKS}
        return {"ruf": rufs, "best": best, "alone": alone[OURS], "plain": skills["original"][OURS].rate,
                "partner": skills["partner"][THEIRS].rate, **_single(bench)}  # fmt: skip


def _column(cell: Cell) -> str:
    if "coefficient" in cell.coefficients:
        return "shared"
    return next(name for name, merges in COLUMNS.items() if cell.merge in merges)


def _single(bench: Bench) -> dict[str, Any]:
    """Return what rounding leaves of the model, and whether it answers the partner's prompts as before."""
    modules = [load_module(bench.checkpoints[role], bench.dtype) for role in ("protected", "original")]
    tokenizer = load_tokenizer(bench.checkpoints["base"])
    mine, theirs = (bench.rows(task, "test") for task in (OURS, THEIRS))
    found: dict[str, Any] = {"alike": alike(*modules, tokenizer, theirs)}
    for bits in (8, 4):
        kept = {}
        for role, module in zip(("protected", "original"), modules, strict=True):
            with torch.no_grad():
                before = {name: value.clone() for name, value in module.named_parameters()}
                for name, value in module.named_parameters():
                    if value.dim() > 1:
                        value += RoundedWeights(bits=bits).added(value.float(), name)
                kept[role] = exact_match(module, tokenizer, mine).rate
                for name, value in module.named_parameters():
                    value.copy_(before[name])
        found[f"int{bits}"] = [kept["protected"], kept["original"]]
    return found
