"""What an audit found, as plain frozen dataclasses: the one truth that every report format is a view of.

``result.json`` is ``Result``; ``rows.jsonl`` is one ``Cell`` or ``Measurement`` per line (see ``result_json``).
Nothing here imports torch.

    skill    = share of a task's rows that a model answers exactly, with its 95 % Wilson interval
    utility  = the smaller of both skills, each measured from the base (0) to its own expert (1)
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

SCHEMA_VERSION: Final = 1
_STRICT = {"extra": "forbid", "allow_inf_nan": False, "strict": True}

#: Which weights stood in the protected expert's place in a merge.
State = Literal["unprotected", "protected", "gaugefix", "aga", "unprotected+gaugefix", "other"]
Split = Literal["test", "validation"]
Grade = Literal["A", "B", "C", "D"]


@dataclass(frozen=True, kw_only=True)
class Skill:
    """Exact matches out of ``total`` rows, with the bounds of the 95 % Wilson interval."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    correct: int
    total: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One merge, of one state, at one setting, scored on both tasks; a line of ``rows.jsonl``.

    Args:
      row_id:          SHA-256 over everything that the figures depend on.
      level, attack:   where on the ladder the cell stands ("control" for the unprotected model).
      merge:           algorithm.
      coefficients:    the published coefficient ("coefficient"), or one weight per expert ("protected", "partner").
      parameters:      every hyper-parameter of the merge, defaults included.
      skill_protected: on the protected expert's task.
      skill_partner:   on the partner's task.
      nll_nats:        mean negative log-likelihood of the right answers over both tasks, None when not finite.
      tokens:          tokens that went through the model.
      merge_seconds:   of the merge alone; ``seconds`` with the evaluation.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    row_id: str
    level: int
    attack: str
    state: State
    split: Split
    merge: str
    coefficients: dict[str, float]
    parameters: dict[str, Any]
    skill_protected: Skill
    skill_partner: Skill
    nll_nats: float | None
    tokens: int
    merge_seconds: float
    seconds: float
    version: str
    entry_type: Literal["cell"] = "cell"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Any other finished piece of work (a reference score, a point of a curve, a comparison); also a line of a report.

    Args:
      row_id:  as for a cell.
      about:   what was measured, a few words.
      figures: named numbers, None where one is not finite.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    row_id: str
    about: str
    figures: dict[str, float | int | None]
    seconds: float
    version: str
    entry_type: Literal["measurement"] = "measurement"


@dataclass(frozen=True, kw_only=True)
class Alone:
    """One model by itself, on its own task and on plain text."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    skill: float
    low: float
    high: float
    items: int
    perplexity: float | None


@dataclass(frozen=True, kw_only=True)
class Closeness:
    """How far two models' outputs lie apart on the same tokens."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    max_rel_logit_error: float
    kl_nats: float
    top1_agreement: float
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Standalone:
    """Is the protected model still the original one?  The headline figures are for float32 compute.

    ``bfloat16`` compares both models in bfloat16; ``bfloat16_floor`` compares the original with itself, bfloat16
    against float32, which is the noise that the former has to be read against.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    original: Alone
    protected: Alone
    max_rel_logit_error: float
    kl_nats: float
    top1_agreement: float
    tokens: int
    bfloat16: Closeness
    bfloat16_floor: Closeness


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Scores of a single model on both tasks, and the utility that they make."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    skill_protected: Skill
    skill_partner: Skill
    utility: float


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best merge of a level: its setting and both skills on the test rows."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    merge: str
    coefficients: dict[str, float]
    skill_protected: float
    skill_partner: float
    utility: float


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """What a realignment gives back before any merge: the model by itself, and how far its outputs moved."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    alone: Alone
    preserves_function: bool
    closeness: Closeness


@dataclass(frozen=True, kw_only=True)
class Level:
    """One rung of the ladder.

    Args:
      best:                the attacker's best merge; ``best_unprotected`` the same search on the unprotected model.
      ruf:                 recovered utility fraction, 0 to 1; ``ruf_low``, ``ruf_high`` follow the interval of the
                           smaller skill.
      flops, tokens:       what the attack costs, evaluations that select a setting included; FLOPs are an estimate
                           from shapes.
      seconds:             measured on the machine of the report.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    level: int
    name: str
    attack: str
    best: Best
    best_unprotected: Best
    ruf: float
    ruf_low: float
    ruf_high: float
    flops: int
    tokens: int
    seconds: float
    recovered: Recovered | None = None


@dataclass(frozen=True, kw_only=True)
class Barrier:
    """Loss on the line from a model (t = 0) to the partner (t = 1): of the protected, realigned and unprotected one.

    A curve is (t, nats per answer token over both tasks); a barrier is its largest rise over the straight line between
    its ends.  ``realigned`` is None when level 2 was not run.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    naive: float
    realigned: float | None
    unprotected: float
    curve: tuple[tuple[float, float], ...]
    curve_realigned: tuple[tuple[float, float], ...]
    curve_unprotected: tuple[tuple[float, float], ...]
    items: int


@dataclass(frozen=True, kw_only=True)
class Control:
    """A check of the audit itself: ``figure`` must be ``relation`` ("<=" or ">=") ``bound``."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    passed: bool
    figure: float
    relation: Literal["<=", ">="]
    bound: float
    says: str


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that took part, by name and content, never by path."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    name: str
    content_digest: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class TaskSet:
    """The rows that scores stand on."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    name: str
    digest: str
    test_items: int
    validation_items: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """The whole audit.

    Args:
      method:           the protection as its manifest states it ("unknown" when there is none).
      trivial_utility:  what the best single model reaches without any merge.
      extras:           attacks that are shown and not graded (the published decoupled one).
      ruf_max:          over all graded levels.
      grade:            by the first level with a RUF of at least 0.9; else the worst grade that levels not run allow.
      grade_level:      that level, None when no level that was run reached it.
      grade_final:      False when only levels that were not run could still change the grade.
      controls:         checks of the audit itself, by name.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    version: str
    method: str
    method_parameters: dict[str, Any]
    models: dict[str, Model]
    tasks: dict[str, TaskSet]
    standalone: Standalone
    references: dict[str, Reference]
    trivial_utility: float
    levels: tuple[Level, ...]
    extras: tuple[Level, ...]
    barrier: Barrier
    ruf_max: float
    grade: Grade
    grade_level: int | None
    grade_final: bool
    controls: dict[str, Control]
    seed: int
    environment: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["audit"] = "audit"
