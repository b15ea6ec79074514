"""One line of ``rows.jsonl``: a merge that was scored, or any other finished piece of work, as a frozen record.

    skill = share of a task's rows that a model answers exactly, with its 95 % Wilson interval

Every record of a result is read strictly: an unknown key, a wrong type or a number that is not finite is refused.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

Split = Literal["test", "validation"]


class Record:
    """What every record of a result shares: how strictly it is read."""

    __pydantic_config__: ClassVar[dict[str, bool | str]] = {"extra": "forbid", "allow_inf_nan": False, "strict": True}


@dataclass(frozen=True, kw_only=True)
class Skill(Record):
    """Exact matches out of ``total`` rows, with the bounds of the 95 % Wilson interval."""

    correct: int
    total: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Cell(Record):
    """One merge, of one state, at one setting, scored on both tasks; a line of ``rows.jsonl``.

    Args:
      row_id:          SHA-256 over everything that the figures depend on.
      level, attack:   where on the ladder the cell belongs ("control" for the unprotected model).
      state:           what stood in the protected expert's place, a name in ``Result.states``; a reader takes any name.
      merge:           algorithm.
      coefficients:    the published coefficient ("coefficient"), or one weight per expert ("protected", "partner").
      parameters:      every hyper-parameter of the merge, defaults included.
      skill_protected: on the protected expert's task.
      skill_partner:   on the partner's task.
      nll_nats:        mean negative log-likelihood of the right answers over both tasks, None when not finite.
      tokens:          tokens that went through the model.
      merge_seconds:   of the merge alone; ``seconds`` with the evaluation.
    """

    row_id: str
    level: int
    attack: str
    state: str
    split: Split
    merge: str
    coefficients: dict[str, float]
    parameters: dict[str, object]
    skill_protected: Skill
    skill_partner: Skill
    nll_nats: float | None
    tokens: int
    merge_seconds: float
    seconds: float
    version: str
    entry_type: Literal["cell"] = "cell"


@dataclass(frozen=True, kw_only=True)
class Measurement(Record):
    """Any other finished piece of work (a reference score, a point of a curve, a comparison); also a line of a report.

    Args:
      row_id:  as for a cell.
      about:   what was measured, a few words.
      figures: named numbers, None where one is not finite.
    """

    row_id: str
    about: str
    figures: dict[str, float | int | None]
    seconds: float
    version: str
    entry_type: Literal["measurement"] = "measurement"
