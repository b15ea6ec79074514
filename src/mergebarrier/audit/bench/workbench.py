"""The workbench of an audit: opened models, one live module that every merge is written into, and finished rows.

A cell costs one merge and one evaluation and never touches the disk: the merged tensors go straight into the module.
Every finished piece of work is a row named by a hash of all it depends on, so that nothing is measured twice.

    row_id = SHA-256(canonical JSON of {what, digests of models and rows, merge and parameters, dtype, version})
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

from mergebarrier import __version__
from mergebarrier.audit.bench.spec import AuditSpec, MergeSetting
from mergebarrier.audit.bench.tasks import OURS, TASKS, THEIRS, names_of_tasks, read_tasks, rows_digest
from mergebarrier.errors import InternalError
from mergebarrier.results import Cell, Measurement, Model, Reference, Skill, Split, State, TaskSet

if TYPE_CHECKING:
    from torch import nn

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.evaluate import Score, TaskRow

Figures = dict[str, float | int | None]
STATES: tuple[State, ...] = get_args(State)


class Journal(Protocol):
    """Where finished rows are kept; ``report.Journal`` keeps them on disk."""

    def find(self, row_id: str) -> Cell | Measurement | None:
        """Return a finished row."""

    def add(self, row: Cell | Measurement) -> None:
        """Keep a row that was finished just now."""

    @property
    def used(self) -> list[Cell | Measurement]:
        """Rows that were found or added."""


class Bench:
    """See the module; made by ``run_audit`` inside an ``ExitStack`` that closes the models.

    Args:
      spec:    what to audit.
      journal: finished rows.
      say:     told one line per piece of work.
      stack:   closes what is opened here.
    """

    def __init__(self, spec: AuditSpec, journal: Journal, say: Callable[[str], None], stack: ExitStack) -> None:
        """Open the models and read the tasks; nothing is computed."""
        from mergebarrier import verbs
        from mergebarrier.evaluate import compute_dtype

        self.spec, self.say = spec, say
        self.dtype = compute_dtype(spec.dtype)
        self._journal, self._stack = journal, stack
        self._module: nn.Module | None = None
        self._tokenizer: Any = None
        self._inside = ""
        self._folders = verbs.Models(stack)
        self.checkpoints: dict[str, Checkpoint] = {}
        for role in ("base", "original", "protected", "partner"):
            self.admit(role, getattr(spec, role))
        self._rows = read_tasks(spec)
        self.tasks = {
            task: TaskSet(
                name=name,
                digest=digest,
                test_items=len(self._rows[task, "test"]),
                validation_items=len(self._rows[task, "validation"]),
            )
            for task, (name, digest) in names_of_tasks(spec).items()
        }

    def admit(self, role: str, path: Path) -> "Checkpoint":
        """Open a further model under a role; an adapter is put on the base."""
        self.checkpoints[role] = self._folders.model_on(path, self.spec.base)
        return self.checkpoints[role]

    def digest(self, role: str) -> str:
        """Return the content digest of a model."""
        return self.checkpoints[role].content_digest(workers=self.spec.workers)

    def model(self, role: str) -> Model:
        """Return what a report says about a model."""
        from mergebarrier import verbs
        from mergebarrier.lineage import reference

        checkpoint = self.checkpoints[role]
        return Model(
            name=reference(checkpoint.path.absolute()),
            content_digest=self.digest(role),
            licence=verbs.licence(checkpoint),
        )

    @property
    def n_weights(self) -> int:
        """Weights of the base."""
        return sum(info.numel for info in self.checkpoints["base"].tensors.values())

    def rows(self, task: str, split: Split) -> "Sequence[TaskRow]":
        """Return the rows of a task."""
        return self._rows[task, split]

    def measure(
        self,
        kind: str,
        of: str,
        identity: Mapping[str, Any],
        compute: Callable[[], Mapping[str, Any]],
        *,
        aloud: bool = True,
    ) -> Measurement:
        """Return a finished measurement, or make it.

        Args:
          kind:     what is measured, part of the row's identity.
          of:       of what, a few words that are not: the same weights under two names are measured once.
          identity: all that the figures depend on.
          compute:  makes the figures; a figure that is not finite becomes None.
          aloud:    tell ``say``.
        """
        row_id = self._row_id({"about": kind, **identity})
        found = self._journal.find(row_id)
        if found is None:
            started = time.perf_counter()
            figures: Figures = {name: _finite(value) for name, value in compute().items()}
            found = Measurement(
                row_id=row_id,
                about=f"{kind} of {of}",
                figures=figures,
                seconds=time.perf_counter() - started,
                version=__version__,
            )
            self._journal.add(found)
            if aloud:
                self.say(f"{found.about} ({found.seconds:.0f} s)")
        if not isinstance(found, Measurement):
            raise InternalError("two kinds of rows share an id", where=row_id)
        return found

    def reference(self, role: str) -> dict[str, Skill]:
        """Score one model on the test rows of both tasks."""
        skills = {}
        for task in TASKS:
            identity = {"model": self.digest(role), "rows": self._rows_id(task, "test"), "dtype": self.dtype}

            def compute(task: str = task) -> Mapping[str, Any]:
                self._load(role)
                return vars(self._score(task, "test"))

            figures = self.measure("score", f"{role} on the {task} task", identity, compute).figures
            counts = {name: int(figures[name] or 0) for name in ("correct", "total")}
            shares = {name: float(figures[name] or 0.0) for name in ("rate", "low", "high")}
            skills[task] = Skill(correct=counts["correct"], total=counts["total"], **shares)
        return skills

    def cell(
        self, state: State, setting: MergeSetting, split: Split, *, level: int, attack: str, role: str = ""
    ) -> Cell:
        """Merge a state of the protected expert with the partner and score the result; or find it done.

        Args:
          state:   what stands in the protected expert's place.
          setting: how it is merged.
          split:   which rows score it.
          level:   where it stands on the ladder, kept in the row.
          attack:  the same in a word.
          role:    the model of that state, by default the one of the same name.
        """
        from mergebarrier.merge import parameters

        role = role or state
        method = setting.method(self.spec.seed)
        identity = {
            "about": "cell",
            "models": [self.digest("base"), self.digest(role), self.digest("partner")],
            "merge": [setting.merge, parameters(method)],
            "rows": [self._rows_id(task, split) for task in TASKS],
            "dtype": self.dtype,
        }
        found = self._finished(identity, state, level, attack)
        if found is None:
            started = time.perf_counter()
            self.fill(method, [role, "partner"])
            merged = time.perf_counter()
            ours, theirs = (self._score(task, split) for task in TASKS)
            found = Cell(
                row_id=self._row_id({**identity, "state": state}),
                level=level,
                attack=attack,
                state=state,
                split=split,
                merge=setting.merge,
                coefficients=dict(setting.coefficients),
                parameters=parameters(method),
                skill_protected=_skill(ours),
                skill_partner=_skill(theirs),
                nll_nats=_finite((ours.nll_nats + theirs.nll_nats) / 2),
                tokens=ours.tokens + theirs.tokens,
                merge_seconds=merged - started,
                seconds=time.perf_counter() - started,
                version=__version__,
            )
            self._journal.add(found)
            self.say(f"{state} {setting.label} ({split}): {ours.rate:.2f} / {theirs.rate:.2f} ({found.seconds:.0f} s)")
        return found

    def _finished(self, identity: Mapping[str, Any], state: State, level: int, attack: str) -> Cell | None:
        """Find the row of a cell, or of the same weights in another state (an exact attack returns the original)."""
        for other in (state, *STATES):
            found = self._journal.find(self._row_id({**identity, "state": other}))
            if isinstance(found, Cell):
                if found.state != state:
                    row_id = self._row_id({**identity, "state": state})
                    found = replace(found, row_id=row_id, state=state, level=level, attack=attack)
                    self._journal.add(found)
                return found
        return None

    def fill(self, method: Any, roles: Sequence[str]) -> None:
        """Merge models into the live module; the base is added where the method uses it."""
        from mergebarrier.evaluate import ModuleSink
        from mergebarrier.merge import plan
        from mergebarrier.run import transform

        module = self._live()
        planned = plan(method, self.checkpoints["base"], [self.checkpoints[role] for role in roles]).surveyed()
        self._inside = ""
        transform(planned.sources, ModuleSink(module), planned.units, planned.apply, workers=self.spec.workers)

    def loss(self, items: int) -> float:
        """Return the mean loss of the live module on the right answers of both tasks, nats per answer token."""
        return sum(self._score(task, "test", items).nll_nats for task in TASKS) / len(TASKS)

    def score_live(self, task: str) -> "Score":
        """Score whatever is in the live module on the test rows of a task."""
        return self._score(task, "test")

    def perplexity(self, role: str, text: str) -> Measurement:
        """Measure a model's perplexity on plain text."""
        from mergebarrier.evaluate import perplexity

        def compute() -> Mapping[str, Any]:
            self._load(role)
            return vars(perplexity(self._live(), self.tokenizer, text, self.spec.text_tokens))

        identity = {
            "model": self.digest(role),
            "text": hashlib.sha256(text.encode()).hexdigest(),
            "tokens": self.spec.text_tokens,
            "dtype": self.dtype,
        }
        return self.measure("perplexity", role, identity, compute)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the original, loaded on first use."""
        if self._tokenizer is None:
            from mergebarrier.evaluate import load_tokenizer

            self._tokenizer = load_tokenizer(self.checkpoints["original"])
        return self._tokenizer

    def release(self) -> None:
        """Let the live module go, before something large is loaded."""
        self._module, self._inside = None, ""

    def _live(self) -> "nn.Module":
        if self._module is None:
            from mergebarrier.evaluate import load_module

            self._module = load_module(self.checkpoints["original"], self.dtype)
            self._inside = self.digest("original")
        return self._module

    def _load(self, role: str) -> None:
        """Put one model into the live module."""
        from mergebarrier.evaluate import ModuleSink
        from mergebarrier.run import transform

        module = self._live()
        if self._inside != self.digest(role):
            self._inside = ""
            sources = [self.checkpoints[role]]
            transform(sources, ModuleSink(module), (), lambda unit, tensors: tensors[0], workers=self.spec.workers)
            self._inside = self.digest(role)

    def _score(self, task: str, split: Split, items: int | None = None) -> "Score":
        from mergebarrier.evaluate import exact_match

        return exact_match(self._live(), self.tokenizer, self._rows[task, split], max_items=items)

    def _rows_id(self, task: str, split: Split) -> str:
        return rows_digest(self._rows[task, split])

    def rows_id(self, task: str) -> str:
        """Return the digest of the test rows of a task."""
        return self._rows_id(task, "test")

    def _row_id(self, identity: Mapping[str, Any]) -> str:
        from mergebarrier.checkpoint import canonical_json

        return hashlib.sha256(canonical_json({"version": __version__, **identity})).hexdigest()


def reference_of(skills: Mapping[str, Skill], utility: float) -> Reference:
    """Return both skills of a single model as a report states them."""
    return Reference(skill_protected=skills[OURS], skill_partner=skills[THEIRS], utility=utility)


def _skill(score: "Score") -> Skill:
    return Skill(correct=score.correct, total=score.total, rate=score.rate, low=score.low, high=score.high)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
