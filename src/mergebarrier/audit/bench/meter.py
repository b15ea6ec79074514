"""What an audit has spent, what is still to come, and what it may spend.

    seconds of work = m (merges + 4 models made) + r (tokens read + 3 tokens learned)
    still to come   = forecast of the parts not done;  of searches over parts of models times f,
                      f = their seconds / what was forecast for them, until now

m and r are medians over the merges measured so far, so the first minute calibrates both, and a machine that stood still
for a while spoils neither; only ratios between kinds of work are given.  A part that would exceed a budget is left out,
and what that was is kept for the report.  Rows of an earlier run count like fresh ones, so an audit that is resumed
leaves out the same parts.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from mergebarrier.audit.bench.journal import MeasurementJournal
from mergebarrier.audit.bench.spec import AuditSpec
from mergebarrier.progress import duration, forecast
from mergebarrier.results import Cell, Measurement

Row = Cell | Measurement
#: What a model that is made (realigned) costs in merges, and a token that is learned in tokens read.
_MODEL, _LEARNED = 4.0, 3.0
#: Seconds of measuring after which a person is told how long it will take, and between two looks at the file.
FIRST_MINUTE: Final = 60.0
_EVERY = 5.0
_FEWEST, _MOST = 0.5, 4.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """An amount of it.

    Args:
      evaluations:   merges that are scored.
      merges:        passes over all weights, in merges.
      read, learned: tokens that go through a model, and those that gradients are taken of.
      models:        models that are made.
    """

    evaluations: int = 0
    merges: float = 0.0
    read: int = 0
    learned: int = 0
    models: int = 0

    def __add__(self, other: "Work") -> "Work":
        """Return both together."""
        return Work(**{name: value + vars(other)[name] for name, value in vars(self).items()})

    @property
    def tokens(self) -> int:
        """Tokens read or learned."""
        return self.read + self.learned


@dataclass
class Meter:
    """Spending of one audit; parts are named, and begin one after the other.

    Args:
      spec:  its budgets.
      watch: called with how far it is, as JSON can hold it.
    """

    spec: AuditSpec
    watch: Callable[[Mapping[str, object]], None] = lambda document: None
    forecasts: Mapping[str, Work] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    evaluations: int = 0
    tokens: int = 0
    seconds: float = 0.0
    fresh_seconds: float = 0.0
    _seen: set[tuple[str, float]] = field(default_factory=set)
    _rates: list[tuple[float, float, int]] = field(default_factory=list)
    _mixes: list[tuple[float, Work]] = field(default_factory=list)
    _done: dict[str, int] = field(default_factory=dict)
    _part: str = ""
    _told: float = 0.0
    _written: float = 0.0

    def begin(self, part: str) -> None:
        """Begin or go on with a part; those of other levels that the forecast lists before it are finished."""
        self._part = part
        self.show(now=True)

    def note(self, row: Row, *, fresh: bool) -> None:
        """Count a row, once under all its names."""
        name = (row.merge if isinstance(row, Cell) else row.row_id, row.seconds)
        if name in self._seen:
            return
        self._seen.add(name)
        self.seconds += row.seconds
        self.fresh_seconds += row.seconds if fresh else 0.0
        if isinstance(row, Cell):
            inside = [row.parameters.get(key, 0) for key in ("tokens_read", "tokens_learned", "merges_scored")]
            read, learned, scored = (value if isinstance(value, int) else 0 for value in inside)
            self.evaluations += 1 + scored
            self._done[self._part] = self._done.get(self._part, 0) + 1 + scored
            self.tokens += row.tokens + read + learned
            if scored:
                looked = Work(merges=2.0 + 0.3 * scored, read=row.tokens + read, learned=learned)
                self._mixes.append((row.seconds, looked))
            elif row.tokens:
                self._rates.append((row.merge_seconds, row.seconds - row.merge_seconds, row.tokens))

    def seconds_of(self, work: Work) -> float:
        """Return how long some work would take, 0 before a merge was measured."""
        if not self._rates:
            return 0.0
        merge = median(one for one, _, _ in self._rates)
        token = median(one / count for _, one, count in self._rates)
        return merge * (work.merges + _MODEL * work.models) + token * (work.read + _LEARNED * work.learned)

    @property
    def left(self) -> float:
        """Seconds that are still to come."""
        ahead = 0.0
        expected = sum(self.seconds_of(work) for _, work in self._mixes)
        slower = sum(seconds for seconds, _ in self._mixes) / expected if expected else 1.0
        order = list(self.forecasts)
        here = order.index(self._part) if self._part in order else 0
        for number, (part, work) in enumerate(self.forecasts.items()):
            share = min(1.0, self._done.get(part, 0) / max(1, work.evaluations))
            if number < here and part.partition(",")[0] != self._part.partition(",")[0]:
                share = 1.0
            factor = min(_MOST, max(_FEWEST, slower)) if "," in part else 1.0
            ahead += factor * (1.0 - share) * self.seconds_of(work)
        return ahead

    def afford(self, part: str, work: Work, remedy: str = "") -> bool:
        """Say whether a part fits what is left of every budget; else keep why it was left out."""
        spec, unit = self.spec, {"seconds": "s", "evaluations": "merges", "tokens": "tokens"}
        asked = {"seconds": self.seconds_of(work), "evaluations": work.evaluations, "tokens": work.tokens}
        for name, more in asked.items():
            limit, spent = getattr(spec, f"budget_{name}"), getattr(self, name)
            if limit is not None and spent + more > limit:
                self.left_out.append(
                    f"{part} was left out: it would take about {more:,.0f} {unit[name]} where {spent:,.0f} of the "
                    f"{limit:,.0f} of --budget-{name} are spent{remedy}."
                )
                return False
        return True

    def told(self) -> str:
        """Return, once, what to tell a person after the first minute; "" before and afterwards."""
        if self.fresh_seconds < FIRST_MINUTE or self._told or not self._rates:
            return ""
        self._told = self.fresh_seconds + self.left
        return f"{forecast(self._told)} in all, {duration(self.left)} of them to come"

    def show(self, *, now: bool = False) -> None:
        """Show whoever watches how far it is, every few seconds, or now."""
        at = time.monotonic()
        if at - self._written < _EVERY and not now:
            return
        self._written = at
        self.watch(
            {
                "schema_version": 1,
                "kind": "progress",
                "part": self._part,
                "rows": len(self._seen),
                "evaluations": self.evaluations,
                "tokens": self.tokens,
                "seconds": round(self.seconds, 3),
                "left_seconds": round(self.left, 3) if self._rates else None,
                "left_out": self.left_out,
            }
        )


class MeteredJournal:
    """A journal whose rows are counted."""

    def __init__(self, journal: MeasurementJournal, meter: Meter, say: Callable[[str], None]) -> None:
        """Count nothing yet; ``say`` is told, once, how long it will take."""
        self._journal, self._meter, self._say = journal, meter, say

    def find(self, row_id: str) -> Row | None:
        """Return a finished row."""
        row = self._journal.find(row_id)
        if row is not None:
            self._meter.note(row, fresh=False)
        return row

    def add(self, row: Row) -> None:
        """Keep a row."""
        self._journal.add(row)
        self._meter.note(row, fresh=True)
        self._meter.show()
        if told := self._meter.told():
            self._say(told)

    @property
    def used(self) -> list[Row]:
        """Rows that were found or added."""
        return self._journal.used
