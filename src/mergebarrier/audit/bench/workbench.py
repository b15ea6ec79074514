"""The workbench of an audit: opened models, rows of both tasks, one live model, and every finished piece of work.

    cell = merge of a state of the protected expert with the partner, scored on both tasks

Everything is asked of the journal first and measured only where it is not there, or under another name.
"""

import hashlib
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier import __version__
from mergebarrier.audit.bench.candidate import Candidate, Filled, Search, filled, pair, skill_of
from mergebarrier.audit.bench.journal import Figures, Identity, MeasurementJournal, finite, row_id
from mergebarrier.audit.bench.live import LiveModel
from mergebarrier.audit.bench.meter import Meter, MeteredJournal
from mergebarrier.audit.bench.spec import AuditSpec, MergeSetting
from mergebarrier.audit.bench.tasks import TASKS, read_tasks, rows_digest, task_sets
from mergebarrier.errors import InternalError
from mergebarrier.progress import duration
from mergebarrier.results import Cell, Measurement, Model, Skill, Split

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.evaluate import Score, TaskRow
    from mergebarrier.merge import Merge


class Bench:
    """See the module; made by ``run_audit`` inside an ``ExitStack`` that closes the models.

    Args:
      spec:    what to audit.
      journal: finished rows.
      say:     called with one line per piece of work.
      stack:   closes what is opened here.
      states:  names of everything that may take the protected expert's place.
    """

    def __init__(
        self,
        spec: AuditSpec,
        journal: MeasurementJournal,
        say: Callable[[str], None],
        stack: ExitStack,
        *,
        states: Collection[str],
    ) -> None:
        """Open the models and read the tasks; nothing is computed."""
        from mergebarrier import verbs
        from mergebarrier.evaluate import compute_dtype, device_named

        self.spec = spec
        self.device = device_named(spec.device)
        dtype = compute_dtype(spec.dtype, "cpu" if self.device == "cpu" else "cuda")
        # Rows of a graphics processor have names of their own: its sums round in another order.
        self.dtype = dtype if self.device == "cpu" else f"{dtype} on {self.device}"
        self.meter, self.say, self._states = Meter(spec), say, tuple(states)
        self._journal = MeteredJournal(journal, self.meter, say)
        self._folders, self._named = verbs.Models(stack), set[str]()
        self.checkpoints: dict[str, Checkpoint] = {}
        for role in ("base", "original", "protected", "partner"):
            self.admit(role, getattr(spec, role))
        self.live = LiveModel(self.checkpoints["original"], dtype, spec, self.device)
        self._rows = read_tasks(spec)
        self.tasks = task_sets(spec, self._rows)

    def admit(self, role: str, path: "Path | Checkpoint") -> "Checkpoint":
        """Open a further model under a role; an adapter is put on the base."""
        self.checkpoints[role] = self._folders.model_on(path, self.spec.base)
        return self.checkpoints[role]

    def digest(self, role: str) -> str:
        """Return the content digest of a model."""
        return self.checkpoints[role].content_digest(workers=self.spec.workers)

    def model(self, role: str) -> Model:
        """Return what a report says about a model."""
        from mergebarrier import verbs

        checkpoint = self.checkpoints[role]
        return Model(name=checkpoint.name, content_digest=self.digest(role), licence=verbs.licence(checkpoint))

    @property
    def n_weights(self) -> int:
        """Weights of the base."""
        return sum(info.numel for info in self.checkpoints["base"].tensors.values())

    def rows(self, task: str, split: Split) -> "Sequence[TaskRow]":
        """Return the rows of a task."""
        return self._rows[task, split]

    def measure(
        self, kind: str, of: str, identity: Identity, compute: Callable[[], Figures], *, aloud: bool = True
    ) -> Measurement:
        """Return a finished measurement, or make it.

        Args:
          kind:     what is measured, part of the row's identity.
          of:       of what, a few words that are not: the same weights under two names are measured once.
          identity: all that the figures depend on.
          compute:  makes the figures; a figure that is not finite becomes None.
          aloud:    tell ``say``.
        """
        name, about = row_id({"about": kind, **identity}), f"{kind} of {of}"
        found = self._journal.find(name)
        if isinstance(found, Measurement) and found.about != about and name not in self._named:
            # A worker may have met the same weights under another name first; this audit's first name stands.
            found = replace(found, about=about)
            self._journal.add(found)
        if found is None:
            started = time.perf_counter()
            figures = {figure: finite(value) for figure, value in compute().items()}
            found = Measurement(
                row_id=name,
                about=about,
                figures=figures,
                seconds=time.perf_counter() - started,
                version=__version__,
            )
            self._journal.add(found)
            if aloud:
                self.say(f"{found.about} ({duration(found.seconds)})")
        self._named.add(name)
        if not isinstance(found, Measurement):
            raise InternalError("two kinds of rows share an id", where=name)
        return found

    def reference(self, role: str) -> dict[str, Skill]:
        """Score one model on the test rows of both tasks."""
        skills = {}
        for task in TASKS:
            identity = {"model": self.digest(role), "rows": self.rows_id(task, "test"), "dtype": self.dtype}

            def compute(task: str = task) -> Figures:
                self.live.load(self.checkpoints[role])
                return vars(self.live.score(self._rows[task, "test"]))

            figures = self.measure("score", f"{role} on the {task} task", identity, compute).figures
            counts = {name: int(figures[name] or 0) for name in ("correct", "total")}
            shares = {name: float(figures[name] or 0.0) for name in ("rate", "low", "high")}
            skills[task] = Skill(correct=counts["correct"], total=counts["total"], **shares)
        return skills

    def cell(self, state: str, setting: MergeSetting, split: Split, *, level: int, attack: str, role: str = "") -> Cell:
        """Merge a state of the protected expert with the partner and score the result; or find it done.

        Args:
          state:   what takes the protected expert's place.
          setting: how it is merged.
          split:   which rows score it.
          level:   its level of the ladder, kept in the row.
          attack:  the same in a word.
          role:    the model of that state, by default the one of the same name.
        """
        from mergebarrier.merge import parameters

        method = setting.method(self.spec.seed)
        place = Candidate(state=state, role=role or state, level=level, attack=attack)

        def fill() -> Filled:
            self.fill(method, [place.role, "partner"])
            return Filled(coefficients=dict(setting.coefficients), parameters=parameters(method))

        return self._scored(place, split, setting.merge, parameters(method), fill, dict(setting.coefficients))

    def mixed(self, place: Candidate, merge: str, identity: Identity, search: Search) -> Cell:
        """Mix the models of a cell part by part, as a search on validation rows finds best; score it on test rows.

        Args:
          place:    what is mixed, and what its cell is called.
          merge:    the name of the search.
          identity: what it depends on beyond models and rows.
          search:   finds the mix.
        """

        def fill() -> Filled:
            models = [self.checkpoints[role] for role in ("base", place.role, "partner")]
            blend, before = self.live.blend(*models), self.live.work
            found = search(blend)
            work = {name: after - before[name] for name, after in self.live.work.items()}
            ours, theirs = blend.mean(found)
            return Filled(
                coefficients={"protected": ours, "partner": theirs},
                parameters={**identity, **work, "coefficients": {name: list(pair) for name, pair in found.items()}},
            )

        chosen_on = {"validation": [self.rows_id(task, "validation") for task in TASKS], **identity}
        return self._scored(place, "test", merge, chosen_on, fill, {})

    def _scored(
        self,
        place: Candidate,
        split: Split,
        merge: str,
        asked: Identity,
        fill: Callable[[], Filled],
        shown: Mapping[str, float],
    ) -> Cell:
        if place.state not in self._states:
            raise InternalError(
                f"no level declares the state {place.state!r}", where="audit", remedy="declare it there"
            )
        identity = {
            "about": "cell",
            "models": [self.digest("base"), self.digest(place.role), self.digest("partner")],
            "merge": [merge, asked],
            "rows": [self.rows_id(task, split) for task in TASKS],
            "dtype": self.dtype,
        }
        found = self._finished(identity, place)
        if found is None:
            started = time.perf_counter()
            inside = filled(fill, place, shown)
            merged = time.perf_counter()
            ours, theirs = (inside.score(self.live, self._rows[task, split]) for task in TASKS)
            found = Cell(
                row_id=row_id({**identity, "state": place.state}),
                level=place.level,
                attack=place.attack,
                state=place.state,
                split=split,
                merge=merge,
                coefficients=dict(inside.coefficients),
                parameters=dict(inside.parameters),
                skill_protected=skill_of(ours),
                skill_partner=skill_of(theirs),
                nll_nats=finite((ours.nll_nats + theirs.nll_nats) / 2),
                tokens=ours.tokens + theirs.tokens,
                merge_seconds=merged - started,
                seconds=time.perf_counter() - started,
                version=__version__,
            )
            self._journal.add(found)
            label = MergeSetting(merge, tuple(inside.coefficients.items())).label
            self.say(f"{place.state} {label} ({split}): {pair(ours, theirs)} ({duration(found.seconds)})")
        return found

    def validation_loss(self) -> float:
        """Return the mean loss of the live module on the validation rows of both tasks; infinite where it is NaN."""
        loss = sum(self.live.score(self._rows[task, "validation"]).nll_nats for task in TASKS) / len(TASKS)
        return math.inf if math.isnan(loss) else loss

    def _finished(self, identity: Identity, place: Candidate) -> Cell | None:
        """Find the row of a cell, or of the same weights in another state (an exact attack returns the original)."""
        for other in (place.state, *self._states):
            found = self._journal.find(row_id({**identity, "state": other}))
            if isinstance(found, Cell):
                if found.state != place.state:
                    name = row_id({**identity, "state": place.state})
                    found = replace(found, row_id=name, state=place.state, level=place.level, attack=place.attack)
                    self._journal.add(found)
                return found
        return None

    def fill(self, method: "Merge", roles: Sequence[str]) -> None:
        """Merge models into the live one."""
        self.live.fill(method, self.checkpoints["base"], [self.checkpoints[role] for role in roles])

    def loss(self, items: int) -> float:
        """Return the mean loss of the live module on the right answers of both tasks, nats per answer token."""
        return sum(self.live.score(self._rows[task, "test"], items).nll_nats for task in TASKS) / len(TASKS)

    def score_live(self, task: str) -> "Score":
        """Score whatever is in the live module on the test rows of a task."""
        return self.live.score(self._rows[task, "test"])

    def perplexity(self, role: str, text: str) -> Measurement:
        """Measure a model's perplexity on plain text."""
        from mergebarrier.evaluate import perplexity

        def compute() -> Figures:
            self.live.load(self.checkpoints[role])
            return vars(perplexity(self.live.module, self.live.tokenizer, text, self.spec.text_tokens))

        identity = {
            "model": self.digest(role),
            "text": hashlib.sha256(text.encode()).hexdigest(),
            "tokens": self.spec.text_tokens,
            "dtype": self.dtype,
        }
        return self.measure("perplexity", role, identity, compute)

    def rows_id(self, task: str, split: Split = "test") -> str:
        """Return the digest of some rows of a task."""
        return rows_digest(self._rows[task, split])
