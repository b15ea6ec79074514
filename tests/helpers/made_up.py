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
    LevelResult,
    Model,
    Recovered,
    Reference,
    Skill,
    Standalone,
    State,
    TaskSet,
)


def skill(correct: int, total: int = 100) -> Skill:
    rate, z = correct / total, 1.959964
    centre, spread = rate + z * z / (2 * total), z * math.sqrt(rate * (1 - rate) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    return Skill(
        correct=correct,
        total=total,
        rate=rate,
        low=max(0.0, (centre - spread) / scale),
        high=min(1.0, (centre + spread) / scale),
    )


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
    unprotected = Best(
        merge="task_arithmetic",
        coefficients={"protected": 0.85, "partner": 0.5},
        skill_protected=0.95,
        skill_partner=0.95,
        utility=0.95,
    )
    naive = Best(
        merge="task_arithmetic", coefficients={"coefficient": 1.0}, skill_protected=1.0, skill_partner=0.0, utility=0.0
    )
    searched = Best(
        merge="task_arithmetic",
        coefficients={"protected": 1.0, "partner": 0.3},
        skill_protected=1.0,
        skill_partner=0.0,
        utility=0.0,
    )
    undone = Best(
        merge="task_arithmetic",
        coefficients={"protected": 0.85, "partner": 0.5},
        skill_protected=0.95,
        skill_partner=0.96,
        utility=0.95,
    )
    alone = Alone(skill=1.0, low=0.963, high=1.0, items=100, perplexity=39.12)
    near = Closeness(max_rel_logit_error=1.4e-6, kl_nats=2.1e-12, top1_agreement=1.0, tokens=1024)
    fields: dict[str, Any] = {
        "version": "0.1.0",
        "method": "exact",
        "method_parameters": {"profile": "lossless"},
        "method_keyed": True,
        "method_limit": "",
        "models": {
            role: Model(name=name, content_digest=digit * 64, licence="apache-2.0")
            for role, name, digit in (
                ("base", "smollm2-135m-instruct", "a"),
                ("original", "expert-a", "b"),
                ("protected", "expert-a-protected", "c"),
                ("partner", "expert-b", "d"),
            )
        },
        "tasks": {
            "protected": TaskSet(name="reverse.jsonl", digest="e" * 64, test_items=100, validation_items=60),
            "partner": TaskSet(name="count.jsonl", digest="f" * 64, test_items=100, validation_items=60),
        },
        "standalone": Standalone(
            original=Alone(skill=1.0, low=0.963, high=1.0, items=100, perplexity=39.17),
            protected=alone,
            max_rel_logit_error=1.4e-6,
            kl_nats=2.1e-12,
            top1_agreement=1.0,
            tokens=1024,
            bfloat16=Closeness(max_rel_logit_error=0.022, kl_nats=1.7e-3, top1_agreement=0.979, tokens=1024),
            bfloat16_floor=Closeness(max_rel_logit_error=0.025, kl_nats=2.2e-3, top1_agreement=0.981, tokens=1024),
        ),
        "references": {
            "base": Reference(skill_protected=skill(2), skill_partner=skill(0), utility=0.0),
            "protected": Reference(skill_protected=skill(100), skill_partner=skill(0), utility=0.0),
            "partner": Reference(skill_protected=skill(1), skill_partner=skill(100), utility=0.0),
        },
        "trivial_utility": 0.0,
        "states": {
            "unprotected": State(title="Unprotected", note="control: no protection"),
            "protected": State(title="Protected", note="as published, no attack"),
            "gaugefix": State(title="After gaugefix", note="realigned to the public base"),
            "unprotected+gaugefix": State(
                title="Unprotected, after gaugefix", note="a control of the audit", column=False
            ),
            "aga": State(title="After AGA", note="published attack, not graded"),
            "other": State(title="Another protection", note="beside the ladder", column=False),
        },
        "levels": (
            LevelResult(
                level=0,
                name="naive",
                attack="stock merging",
                needs="stock merge tools",
                state="protected",
                best=naive,
                best_unprotected=unprotected,
                ruf=0.0,
                ruf_low=0.0,
                ruf_high=0.04,
                flops=(1.4e9).__int__(),
                tokens=0,
                seconds=41.0,
            ),
            LevelResult(
                level=1,
                name="coefficients",
                attack="coefficient search",
                needs="validation rows of both tasks",
                state="protected",
                best=searched,
                best_unprotected=unprotected,
                ruf=0.0,
                ruf_low=0.0,
                ruf_high=0.04,
                flops=10**13,
                tokens=61000,
                seconds=95.0,
            ),
            LevelResult(
                level=2,
                name="realign",
                attack="gaugefix",
                needs="the public base",
                state="gaugefix",
                best=undone,
                best_unprotected=unprotected,
                ruf=1.0,
                ruf_low=0.93,
                ruf_high=1.0,
                flops=3 * 10**12,
                tokens=0,
                seconds=13.4,
                recovered=Recovered(alone=alone, preserves_function=True, closeness=near),
            ),
        ),
        "extras": (
            LevelResult(
                level=2,
                name="AGA",
                attack="aga",
                needs="the public base",
                state="aga",
                best=Best(
                    merge="ties",
                    coefficients={"coefficient": 1.0},
                    skill_protected=0.87,
                    skill_partner=1.0,
                    utility=0.86,
                ),
                best_unprotected=unprotected,
                ruf=0.95,
                ruf_low=0.86,
                ruf_high=0.99,
                flops=10**12,
                tokens=0,
                seconds=9.0,
                recovered=Recovered(
                    alone=Alone(skill=0.98, low=0.93, high=1.0, items=100, perplexity=37.15),
                    preserves_function=False,
                    closeness=Closeness(max_rel_logit_error=0.056, kl_nats=7e-3, top1_agreement=0.94, tokens=1024),
                ),
            ),
        ),
        "barrier": Barrier(
            naive=15.2,
            realigned=0.05,
            unprotected=0.05,
            curve=_curve(15.2),
            curve_realigned=_curve(0.05),
            curve_unprotected=_curve(0.06),
            items=48,
        ),
        "ruf_max": 1.0,
        "grade": "C",
        "grade_level": 2,
        "grade_final": True,
        "controls": {
            "unprotected_merge": Control(
                passed=True, figure=0.95, relation=">=", bound=0.5, says="Without a protection, merging works."
            ),
            "realignment_is_harmless": Control(
                passed=True,
                figure=0.01,
                relation="<=",
                bound=0.08,
                says="Realigning the unprotected expert changes no merge.",
            ),
            "two_keys": Control(
                passed=False,
                figure=0.2,
                relation="<=",
                bound=0.001,
                says="Two keys lead the attacker to the same weights.",
            ),
        },
        "seed": 0,
        "environment": {"torch": "2.13.0", "machine": "x86_64", "threads": "2", "dtype": "bfloat16"},
    }
    return Result(**(fields | changes))
