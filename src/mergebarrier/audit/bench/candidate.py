"""What a cell merges with the partner, what it is called, what was put into the live module; skills as records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mergebarrier.audit.bench.blend import Blend, Pair
from mergebarrier.audit.bench.tasks import OURS, THEIRS
from mergebarrier.results import Reference, Skill

if TYPE_CHECKING:
    from mergebarrier.evaluate import Score


#: Leaves the best mix in the module and returns its coefficients by tensor.
Search: TypeAlias = Callable[[Blend], Mapping[str, Pair]]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What a cell merges with the partner, and what it is called: state, model of that state, level and attack."""

    state: str
    role: str
    level: int
    attack: str


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What was put into the live module: coefficients for people, and everything that made it."""

    coefficients: Mapping[str, float]
    parameters: Mapping[str, object]


def reference_of(skills: Mapping[str, Skill], utility: float) -> Reference:
    """Return both skills of a single model as a report states them."""
    return Reference(skill_protected=skills[OURS], skill_partner=skills[THEIRS], utility=utility)


def skill_of(score: "Score") -> Skill:
    """Return a score as a record."""
    return Skill(correct=score.correct, total=score.total, rate=score.rate, low=score.low, high=score.high)
