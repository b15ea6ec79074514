"""The tables of the ladder from its kept results: recovered fraction by level, grade, price, controls."""

from collections import defaultdict
from pathlib import Path

from mergebarrier.audit.metrics import spread_of
from mergebarrier.report import read_result
from mergebarrier.results import Result

Audits = dict[str, dict[tuple[int, int], Result]]


def audits_in(folder: Path) -> Audits:
    """Read every kept result, by protection, key and seed."""
    found: Audits = defaultdict(dict)
    for path in sorted(folder.glob("*-key*-seed*.json")):
        name, key, seed = path.stem.rsplit("-", 2)
        result = read_result(path)
        if isinstance(result, Result):
            found[name][int(key[3:]), int(seed[4:])] = result
    return found


def tables(folder: Path) -> str:
    """Return all tables as Markdown."""
    audits = audits_in(folder)
    return "\n\n".join((_recovered(audits), _best(audits), _controls(audits)))


def _recovered(audits: Audits) -> str:
    numbers = sorted({level.level for runs in audits.values() for run in runs.values() for level in run.levels})
    lines = [_row(["protection", "keys x seeds", *(f"level {n}" for n in numbers), "grade"])]
    lines.append(_row(["---"] * (len(numbers) + 3)))
    for name, runs in audits.items():
        cells = []
        for number in numbers:
            groups = defaultdict(list)
            for (key, _), run in runs.items():
                groups[key] += [level.ruf for level in run.levels if level.level == number]
            kept = [group for group in groups.values() if group]
            if not kept:
                cells.append("-")
                continue
            found = spread_of(kept)
            cells.append(f"{found.mean:.2f}" + (f" ({found.least:.2f} to {found.greatest:.2f})" if found.n > 1 else ""))
        grades = "/".join(sorted({f"{run.grade}{'' if run.grade_final else ' or better'}" for run in runs.values()}))
        lines.append(_row([name, str(len(runs)), *cells, grades]))
    return "\n".join(lines)


def _best(audits: Audits) -> str:
    lines = [_row(["protection", "level", "best merge", "protected / partner", "unprotected", "FLOP", "tokens"])]
    lines.append(_row(["---"] * 7))
    for name, runs in audits.items():
        for level in runs[min(runs)].levels:
            best, other = level.best, level.best_unprotected
            lines.append(
                _row(
                    [
                        name,
                        f"{level.level} {level.name}",
                        best.merge,
                        f"{best.skill_protected:.2f} / {best.skill_partner:.2f}",
                        f"{other.skill_protected:.2f} / {other.skill_partner:.2f}",
                        f"{level.flops:.0e}",
                        f"{level.tokens:,}",
                    ]
                )
            )
    return "\n".join(lines)


def _controls(audits: Audits) -> str:
    names = sorted({name for runs in audits.values() for run in runs.values() for name in run.controls})
    lines = [_row(["protection", *(name.replace("_", " ") for name in names)]), _row(["---"] * (len(names) + 1))]
    for name, runs in audits.items():
        cells = []
        for control in names:
            found = [run.controls[control] for run in runs.values() if control in run.controls]
            worst = max(found, key=lambda one: (not one.passed, one.figure), default=None)
            cells.append("-" if worst is None else f"{'holds' if worst.passed else '**fails**'}, {worst.figure:.3g}")
        lines.append(_row([name, *cells]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
