"""What an audit found, as plain frozen dataclasses: the one truth that every report format is a view of.

``result.json`` is ``Result``; the rows behind it are ``rows.jsonl`` (see ``rows``).  A result says of itself all that a
report has to call by name, so that a report of a later version, or of an added level, drops nothing.
Nothing here imports torch.

    skill    = share of a task's rows that a model answers exactly, with its 95 % Wilson interval
    utility  = the smaller of both skills, each measured from the base (0) to its own expert (1)
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from mergebarrier.results.rows import Record, Skill

SCHEMA_VERSION: Final = 2
Grade = Literal["A", "B", "C", "D"]


@dataclass(frozen=True, kw_only=True)
class State(Record):
    """What may take the protected expert's place in a merge, as a report calls it.

    Args:
      title:  of its column.
      note:   what it is, in a few words.
      column: False where a report shows its cells elsewhere (a control, a comparison beside the ladder).
    """

    title: str
    note: str
    column: bool = True


@dataclass(frozen=True, kw_only=True)
class Alone(Record):
    """One model by itself, on its own task and on plain text."""

    skill: float
    low: float
    high: float
    items: int
    perplexity: float | None


@dataclass(frozen=True, kw_only=True)
class Closeness(Record):
    """How far two models' outputs differ on the same tokens."""

    max_rel_logit_error: float
    kl_nats: float
    top1_agreement: float
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Standalone(Record):
    """Is the protected model still the original one?  The headline figures are for float32 compute.

    ``bfloat16`` compares both models in bfloat16; ``bfloat16_floor`` compares the original with itself, bfloat16
    against float32, which is the noise that the former has to be read against.
    """

    original: Alone
    protected: Alone
    max_rel_logit_error: float
    kl_nats: float
    top1_agreement: float
    tokens: int
    bfloat16: Closeness
    bfloat16_floor: Closeness


@dataclass(frozen=True, kw_only=True)
class OwnersFigure(Record):
    """What a trained protection reports of itself: a figure of the expert, of what is published, and of its control.

    The control was trained for as many steps on the same rows without the term that protects.
    """

    says: str
    plain: float | None
    protected: float | None
    control: float | None


@dataclass(frozen=True, kw_only=True)
class Reference(Record):
    """Scores of a single model on both tasks, and the utility that they make."""

    skill_protected: Skill
    skill_partner: Skill
    utility: float


@dataclass(frozen=True, kw_only=True)
class Best(Record):
    """The best merge of a level: its setting and both skills on the test rows."""

    merge: str
    coefficients: dict[str, float]
    skill_protected: float
    skill_partner: float
    utility: float


@dataclass(frozen=True, kw_only=True)
class Recovered(Record):
    """What a realignment gives back before any merge: the model by itself, and how far its outputs moved."""

    alone: Alone
    preserves_function: bool
    closeness: Closeness


@dataclass(frozen=True, kw_only=True)
class AttackCost(Record):
    """What an attack took: arithmetic, estimated from shapes, tokens, and seconds on the machine of the report."""

    flops: int
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LevelResult(Record):
    """The outcome of one level of the ladder, or of an attack that is shown but not graded.

    Args:
      level, name, attack: its number, its name, and what was done, in a few words.
      needs:               what the attacker must hold, such that "anyone with ..." is a sentence.
      state:               the model that was merged, as its cells call it.
      best:                the attacker's best merge; ``best_unprotected`` the same search on the unprotected model.
      ruf:                 recovered utility fraction, 0 to 1; ``ruf_low``, ``ruf_high`` follow the interval of the
                           smaller skill.
      attacker:            what the attacker works with: "answers" of merges (a black box), or "gradients".
      hypervolume:         area of the skills that the attacker's merges reach, 0 to 1; None where it was not measured.
      flops, tokens:       what the attack costs, evaluations that select a setting included; FLOPs are an estimate
                           from shapes.
      seconds:             measured on the machine of the report.
      breaking:            the same of its cheapest merge that breaks the protection, which need not be the best one;
                           None where none does, and in results of before it was kept.
    """

    level: int
    name: str
    attack: str
    needs: str
    state: str
    best: Best
    best_unprotected: Best
    ruf: float
    ruf_low: float
    ruf_high: float
    flops: int
    tokens: int
    seconds: float
    recovered: Recovered | None = None
    attacker: Literal["answers", "gradients"] = "answers"
    hypervolume: float | None = None
    breaking: AttackCost | None = None

    @property
    def price(self) -> AttackCost:
        """Return what breaking takes, or the best merge where nothing cheaper is known."""
        return self.breaking or AttackCost(flops=self.flops, tokens=self.tokens, seconds=self.seconds)


@dataclass(frozen=True, kw_only=True)
class Line(Record):
    """A curve of (t, nats per answer token over both tasks), and its largest rise over the line between its ends."""

    barrier: float
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Barrier(Record):
    """Loss on the line from a model (t = 0) to the partner (t = 1): of the protected, realigned and unprotected one.

    ``realigned`` belongs to the lowest level that makes a model, and is None when no such level was run; ``further``
    holds the models of the levels above it, by state.
    """

    naive: float
    realigned: float | None
    unprotected: float
    curve: tuple[tuple[float, float], ...]
    curve_realigned: tuple[tuple[float, float], ...]
    curve_unprotected: tuple[tuple[float, float], ...]
    items: int
    further: dict[str, Line] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ScaleCurve(Record):
    """Points of (s, share answered right, nats per answer token) of the base plus s times a task vector."""

    points: tuple[tuple[float, float, float], ...]

    @property
    def width(self) -> float:
        """How far around s = 1 at least nine tenths of the skill there are left."""
        at = {s: rate for s, rate, _ in self.points}
        ends = [1.0, 1.0]
        for end, side in enumerate(
            (sorted((s for s in at if s < 1.0), reverse=True), sorted(s for s in at if s > 1.0))
        ):
            for s in side:
                if at[s] < 0.9 * at[1.0]:
                    break
                ends[end] = s
        return ends[1] - ends[0]


@dataclass(frozen=True, kw_only=True)
class Control(Record):
    """A check of the audit itself: ``figure`` must be ``relation`` ("<=" or ">=") ``bound``."""

    passed: bool
    figure: float
    relation: Literal["<=", ">="]
    bound: float
    says: str


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """A model that took part, by name and content, never by path."""

    name: str
    content_digest: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class TaskSet(Record):
    """The rows that scores are measured on; one that stands twice counts twice.

    ``test_distinct`` and ``validation_distinct`` are None in results of before they were counted.
    """

    name: str
    digest: str
    test_items: int
    validation_items: int
    test_distinct: int | None = None
    validation_distinct: int | None = None


@dataclass(frozen=True, kw_only=True)
class Result(Record):
    """The whole audit.

    Args:
      method:           the protection as its manifest states it ("unknown" when there is none); ``method_keyed``
                        says whether a key undoes it, ``method_limit`` what it says of itself that it does not do.
      states:           name -> what may take the protected expert's place; the order is that of a report's columns.
      trivial_utility:  what the best single model reaches without any merge.
      extras:           attacks that are shown and not graded (the published decoupled one).
      scale:            model -> its scale curve, where the audit was asked for it.
      ruf_max:          over all graded levels.
      grade:            by the first level with a RUF of at least 0.9; else the worst grade that levels not run allow.
      grade_level:      that level, None when no level that was run reached it.
      grade_final:      False when only levels that were not run could still change the grade.
      controls:         checks of the audit itself, by name.
      trained:          what the manifest of a trained protection reports; nothing of it was measured by the audit.
      environment:      versions and machine, and the dtype of weights and arithmetic while scoring.
      command:          what makes it again, with models and files by name; "" where nobody typed one.
    """

    version: str
    method: str
    method_parameters: dict[str, object]
    method_keyed: bool | None
    method_limit: str
    models: dict[str, Model]
    tasks: dict[str, TaskSet]
    standalone: Standalone
    references: dict[str, Reference]
    trivial_utility: float
    states: dict[str, State]
    levels: tuple[LevelResult, ...]
    extras: tuple[LevelResult, ...]
    barrier: Barrier
    ruf_max: float
    grade: Grade
    grade_level: int | None
    grade_final: bool
    controls: dict[str, Control]
    seed: int
    environment: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    scale: dict[str, ScaleCurve] = field(default_factory=dict)
    trained: tuple[OwnersFigure, ...] = ()
    command: str = ""
    schema_version: Literal[2] = SCHEMA_VERSION
    kind: Literal["audit"] = "audit"
