"""Builders of invented results, for tests that look at form and not at figures."""

import math
from typing import Any

from mergebarrier.results import Cell, Result
from mergebarrier.results.audit import (
    Alone,
    Barrier,
    Best,
    Closeness,
    Control,
    Level,
    Model,
    Recovered,
    Reference,
    Skill,
    Standalone,
    TaskSet,
)


def skill(correct: int, total: int = 100) -> Skill:
    rate, z = correct / total, 1.959964
    centre, spread = rate + z * z / (2 * total), z * math.sqrt(rate * (1 - rate) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    return Skill(correct, total, rate, max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale))


def cell(state: str, merge: str, coefficients: dict[str, float], ours: int, theirs: int, **changes: Any) -> Cell:
    fields: dict[str, Any] = {
        "row_id": f"{state}-{merge}-{sorted(coefficients.items())}",
        "level": {"unprotected": 0, "protected": 0}.get(state, 2),
        "attack": {"unprotected": "control", "protected": "none"}.get(state, state),
        "state": state,
        "split": "test",
        "merge": merge,
        "coefficients": coefficients,
        "parameters": {"weights": [1.0, 1.0]},
        "skill_protected": skill(ours),
        "skill_partner": skill(theirs),
        "nll_nats": 1.5,
        "tokens": 9000,
        "merge_seconds": 1.9,
        "seconds": 11.2,
        "version": "0.1.0",
    }
    return Cell(**(fields | changes))


_TABLE = {
    ("linear", 0.5): ((56, 100), (0, 0), (57, 100), (52, 100)),
    ("linear", 0.7): ((90, 80), (2, 0), (90, 81), None),
    ("task_arithmetic", 0.3): ((12, 88), (0, 0), (12, 88), None),
    ("task_arithmetic", 0.5): ((56, 100), (0, 0), (57, 100), (52, 100)),
    ("task_arithmetic", 0.7): ((81, 100), (0, 0), (82, 99), (78, 98)),
    ("task_arithmetic", 1.0): ((83, 67), (100, 0), (85, 68), (82, 76)),
    ("ties", 1.0): ((91, 100), (0, 0), (90, 100), (87, 100)),
    ("dare_linear", 0.7): ((79, 99), (0, 0), (82, 99), (77, 98)),
    ("dare_ties", 0.7): ((80, 97), (0, 0), (81, 98), None),
    ("slerp", 0.5): ((56, 100), (0, 0), (57, 100), (52, 100)),
}
_STATES = ("unprotected", "protected", "gaugefix", "aga")


def made_up_rows() -> list[Cell]:
    rows = [
        cell(state, merge, {"coefficient": coefficient}, *pair)
        for (merge, coefficient), pairs in _TABLE.items()
        for state, pair in zip(_STATES, pairs, strict=True)
        if pair is not None
    ]
    searched = {"protected": 1.0, "partner": 0.3}
    rows.append(cell("protected", "task_arithmetic", searched, 100, 0, level=1, attack="coefficients"))
    rows.append(cell("unprotected", "task_arithmetic", {"protected": 0.85, "partner": 0.5}, 95, 95))
    rows.append(cell("gaugefix", "task_arithmetic", {"protected": 0.85, "partner": 0.5}, 95, 96))
    return rows


def _curve(height: float) -> tuple[tuple[float, float], ...]:
    return tuple((t / 10, 0.05 + height * math.sin(math.pi * t / 10) ** 0.6) for t in range(11))


def made_up_result(**changes: Any) -> Result:
    unprotected = Best("task_arithmetic", {"protected": 0.85, "partner": 0.5}, 0.95, 0.95, 0.95)
    naive = Best("task_arithmetic", {"coefficient": 1.0}, 1.0, 0.0, 0.0)
    searched = Best("task_arithmetic", {"protected": 1.0, "partner": 0.3}, 1.0, 0.0, 0.0)
    undone = Best("task_arithmetic", {"protected": 0.85, "partner": 0.5}, 0.95, 0.96, 0.95)
    alone = Alone(1.0, 0.963, 1.0, 100, 39.12)
    near = Closeness(1.4e-6, 2.1e-12, 1.0, 1024)
    fields: dict[str, Any] = {
        "version": "0.1.0",
        "method": "exact",
        "method_parameters": {"profile": "lossless"},
        "models": {
            role: Model(name, digit * 64, "apache-2.0")
            for role, name, digit in (
                ("base", "smollm2-135m-instruct", "a"),
                ("original", "expert-a", "b"),
                ("protected", "expert-a-protected", "c"),
                ("partner", "expert-b", "d"),
            )
        },
        "tasks": {
            "protected": TaskSet("reverse.jsonl", "e" * 64, 100, 60),
            "partner": TaskSet("count.jsonl", "f" * 64, 100, 60),
        },
        "standalone": Standalone(
            Alone(1.0, 0.963, 1.0, 100, 39.17),
            alone,
            1.4e-6,
            2.1e-12,
            1.0,
            1024,
            Closeness(0.022, 1.7e-3, 0.979, 1024),
            Closeness(0.025, 2.2e-3, 0.981, 1024),
        ),
        "references": {
            "base": Reference(skill(2), skill(0), 0.0),
            "protected": Reference(skill(100), skill(0), 0.0),
            "partner": Reference(skill(1), skill(100), 0.0),
        },
        "trivial_utility": 0.0,
        "levels": (
            Level(0, "naive", "stock merging", naive, unprotected, 0.0, 0.0, 0.04, (1.4e9).__int__(), 0, 41.0),
            Level(1, "coefficients", "coefficient search", searched, unprotected, 0.0, 0.0, 0.04, 10**13, 61000, 95.0),
            Level(
                2,
                "realign",
                "gaugefix",
                undone,
                unprotected,
                1.0,
                0.93,
                1.0,
                3 * 10**12,
                0,
                13.4,
                Recovered(alone, True, near),
            ),
        ),
        "extras": (
            Level(
                2,
                "AGA",
                "aga",
                Best("ties", {"coefficient": 1.0}, 0.87, 1.0, 0.86),
                unprotected,
                0.95,
                0.86,
                0.99,
                10**12,
                0,
                9.0,
                Recovered(Alone(0.98, 0.93, 1.0, 100, 37.15), False, Closeness(0.056, 7e-3, 0.94, 1024)),
            ),
        ),
        "barrier": Barrier(15.2, 0.05, 0.05, _curve(15.2), _curve(0.05), _curve(0.06), 48),
        "ruf_max": 1.0,
        "grade": "C",
        "grade_level": 2,
        "grade_final": True,
        "controls": {
            "unprotected_merge": Control(True, 0.95, ">=", 0.5, "Without a protection, merging works."),
            "realignment_is_harmless": Control(
                True, 0.01, "<=", 0.08, "Realigning the unprotected expert changes no merge."
            ),
            "two_keys": Control(False, 0.2, "<=", 0.001, "Two keys lead the attacker to the same weights."),
        },
        "seed": 0,
        "environment": {"torch": "2.13.0", "machine": "x86_64", "threads": "2"},
    }
    return Result(**(fields | changes))
