"""What a cell merges with the partner, what it is called, what was put into the live module; skills as records."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mergebarrier.audit.bench.blend import Blend, Pair
from mergebarrier.audit.bench.live import LiveModel
from mergebarrier.audit.bench.tasks import OURS, THEIRS
from mergebarrier.errors import BaseMismatch, ConfigMismatch, ShapeMismatch, TensorSetMismatch
from mergebarrier.results import Reference, Skill

if TYPE_CHECKING:
    from mergebarrier.evaluate import Score, TaskRow


#: What merge tools say of models whose tensors do not fit together.
OTHER_SHAPES = (ShapeMismatch, TensorSetMismatch, ConfigMismatch, BaseMismatch)
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
    """What was put into the live module: coefficients for people, and everything that made it; or what refused it."""

    coefficients: Mapping[str, float]
    parameters: Mapping[str, object]
    refused: bool = False

    def score(self, live: LiveModel, rows: "Sequence[TaskRow]") -> "Score":
        """Score what is in the module; a merge that cannot be made answers nothing."""
        from mergebarrier.evaluate import Score

        if self.refused:
            return Score(correct=0, total=len(rows), rate=0.0, low=0.0, high=0.0, nll_nats=math.inf, tokens=0)
        return live.score(rows)


def filled(fill: Callable[[], Filled], place: Candidate, asked: Mapping[str, float]) -> Filled:
    """Fill the module, or say which error refuses models of other shapes; of the original, that ends the audit."""
    try:
        return fill()
    except OTHER_SHAPES as error:
        if place.role == "original":
            raise
        return Filled(coefficients=asked, parameters={"refused": error.code}, refused=True)


def reference_of(skills: Mapping[str, Skill], utility: float) -> Reference:
    """Return both skills of a single model as a report states them."""
    return Reference(skill_protected=skills[OURS], skill_partner=skills[THEIRS], utility=utility)


def pair(ours: "Score", theirs: "Score") -> str:
    """Return both rates as people read them."""
    return f"{ours.rate:.2f} / {theirs.rate:.2f}"


def skill_of(score: "Score") -> Skill:
    """Return a score as a record."""
    return Skill(correct=score.correct, total=score.total, rate=score.rate, low=score.low, high=score.high)
