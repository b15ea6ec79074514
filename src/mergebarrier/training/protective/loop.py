"""The loop of trained protections: terms of a method, one step of AdamW, and a look at the owner's loss now and then.

    tau <- AdamW(tau, clip(sum of grad terms, clip_norm)),   rate = peak * min(1, (step+1)/warm-up) * half a cosine

Every draw belongs to (seed, step), so a run that goes on from its file makes the bytes that it would have made.
Terms are taken one after the other and each is let go before the next, so memory holds one pass.  A loss that is no
number brings the last good state back with half the strength; three times in a row, or unbudgeted, it ends the run.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeAlias

import torch
from torch import Generator, Tensor, nn

from mergebarrier.errors import Diverged
from mergebarrier.training.batches import order
from mergebarrier.training.full import FullRecipe
from mergebarrier.training.protective.budget import OwnersBudget, Standing
from mergebarrier.training.protective.learners import ChosenRows, StepRows
from mergebarrier.training.protective.state import ProtectiveState

#: (state, batch, generator) -> terms, each (name, scalar); their sum is minimised.
Objective: TypeAlias = Callable[[ProtectiveState, StepRows, Generator], Iterator[tuple[str, Tensor]]]
_PATIENCE = 3
#: What the history holds in place of a value that is not finite.
ENDLESS = 1e9


@dataclass(frozen=True, kw_only=True)
class ProtectiveRecipe:
    """How a run goes.

    Args:
      optimiser: steps, rate, warm-up, clip, rows of the task per step, seed.
      text_rows: rows of text per step.
      betas:     of AdamW.
      budget:    what the owner may lose.
    """

    optimiser: FullRecipe
    text_rows: int = 2
    betas: tuple[float, float] = (0.9, 0.98)
    budget: OwnersBudget = field(default_factory=OwnersBudget)


@dataclass(frozen=True, kw_only=True)
class LoopFile:
    """A run between two steps: plain tensors and numbers, for whoever writes files."""

    step: int
    strength: float
    failures: int
    good_step: int
    tensors: Mapping[str, Tensor]
    history: tuple[Mapping[str, float], ...]
    work: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ProtectiveOutcome:
    """What a run came to; the state holds the last weights that were within the budget.

    Attributes:
      plain, protected: standing of the expert before, and of what is published.
      met:              False where no step but the first was within the budget.
      strength:         of the protecting term at the end.
      good_step:        after which step the published weights stood.
      history:          what every look found: step, strength, loss, right, text, and the mean of every term since.
    """

    plain: Standing
    protected: Standing
    met: bool
    strength: float
    good_step: int
    history: tuple[Mapping[str, float], ...]


class Say(Protocol):
    """Is told where the training is."""

    def __call__(self, step: int, steps: int, terms: Mapping[str, float], /) -> None:
        """Take the steps done, all steps, and the loss terms of the last one."""
        ...


def train_protective(
    state: ProtectiveState,
    objective: Objective,
    recipe: ProtectiveRecipe,
    *,
    going_on: LoopFile | None = None,
    keep: Callable[[LoopFile], None] | None = None,
    say: Say | None = None,
) -> ProtectiveOutcome:
    """Train, and leave the best state within the budget in ``state.vector``.

    Args:
      state:     where the training starts; its strength is the first one.
      objective: of the method.
      recipe:    how the run goes.
      going_on:  a file of the same run that was interrupted.
      keep:      called after every look with what is needed to go on.
      say:       called after every step.
    Raises: Diverged.
    """
    return _Run(state, objective, recipe, going_on).run(keep, say)


class _Run:
    def __init__(
        self, state: ProtectiveState, objective: Objective, recipe: ProtectiveRecipe, going_on: LoopFile | None
    ) -> None:
        self._state, self._objective, self._recipe = state, objective, recipe
        self._leaves = state.vector.leaves
        plain = recipe.optimiser
        self._optimiser = torch.optim.AdamW(
            list(self._leaves.values()), lr=plain.learning_rate, betas=recipe.betas, weight_decay=plain.weight_decay
        )
        for leaf in self._leaves.values():  # so that there is something to save and to restore from the start
            self._optimiser.state[leaf] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(leaf),
                "exp_avg_sq": torch.zeros_like(leaf),
            }
        state.steps = plain.steps
        self._plain = state.standing_of_expert()
        if not self._plain.finite:
            raise Diverged("the loss of the expert is not finite", where="validation", remedy="give a whole model")
        self._failures = self._good_step = 0
        self._history: list[Mapping[str, float]] = []
        self._good = self._snapshot()
        if going_on is not None:
            self._take(going_on)

    def run(self, keep: Callable[[LoopFile], None] | None, say: Say | None) -> ProtectiveOutcome:
        state, recipe = self._state, self._recipe
        steps, first = recipe.optimiser.steps, state.step
        tasks = _visits(state, "task", recipe.optimiser.batch_size, recipe.optimiser.seed, first)
        texts = _visits(state, "text", recipe.text_rows, recipe.optimiser.seed, first)
        sums: dict[str, float] = {}
        since = 0
        for step in range(first, steps):
            state.step = step
            terms = self._step(StepRows(next(tasks), next(texts)), step)
            since += 1
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            if say is not None:
                say(step + 1, steps, terms)
            state.step = step + 1
            odd = not all(map(math.isfinite, terms.values()))
            if odd or (step + 1) % recipe.budget.every == 0 or step + 1 == steps:
                self._look({name: value / since for name, value in sums.items()}, step + 1, odd)
                sums, since = {}, 0
                if keep is not None:
                    keep(self._file())
        self._restore(self._good)
        return ProtectiveOutcome(
            plain=self._plain,
            protected=state.standing(),
            met=self._good_step > 0,
            strength=state.strength,
            good_step=self._good_step,
            history=tuple(self._history),
        )

    def _step(self, batch: StepRows, step: int) -> dict[str, float]:
        """Take one step unless a term, or the gradient, is not finite; return the terms."""
        plain, leaves = self._recipe.optimiser, list(self._leaves.values())
        for group in self._optimiser.param_groups:
            group["lr"] = plain.rate(step)
        terms: dict[str, float] = {}
        for name, term in self._objective(self._state, batch, _generator(plain.seed, step)):
            terms[name] = terms.get(name, 0.0) + float(term.detach())
            if term.requires_grad:
                torch.autograd.backward(term)
        norm = float(nn.utils.clip_grad_norm_(leaves, plain.clip_norm))
        if math.isfinite(norm) and all(map(math.isfinite, terms.values())):
            self._optimiser.step()
        else:
            terms["gradient"] = norm
        self._optimiser.zero_grad()
        return terms

    def _look(self, terms: Mapping[str, float], step: int, odd: bool) -> None:
        """Keep a state that is within the budget, or bring the last such state back."""
        state, budget = self._state, self._recipe.budget
        now = state.standing()
        held = not odd and (budget.holds(now, self._plain) or (budget.fixed and now.finite))
        self._failures = 0 if not odd else self._failures + 1
        if odd and (budget.fixed or self._failures >= _PATIENCE):
            worst = next((name for name, value in terms.items() if not math.isfinite(value)), "loss")
            what = f"{worst} is not finite at step {step}"
            raise Diverged(what, where="training", remedy="lower --learning-rate or --strength")
        text = {} if now.text is None else {"text": now.text}
        about = {"step": step, "strength": state.strength, "within": float(held), "loss": now.loss, "right": now.right}
        self._history.append(
            {
                name: value if math.isfinite(value) else ENDLESS
                for name, value in {**about, **text, **{f"term {name}": value for name, value in terms.items()}}.items()
            }
        )
        if held:
            self._good, self._good_step = self._snapshot(), step
        else:
            self._restore(self._good)
        state.strength = budget.strength(state.strength, held)

    def _snapshot(self) -> dict[str, Tensor]:
        """Return copies of everything that a step changes."""
        found: dict[str, Tensor] = {}
        for name, leaf in self._leaves.items():
            held = self._optimiser.state[leaf]
            parts = {"leaf": leaf, "mean": held["exp_avg"], "square": held["exp_avg_sq"], "count": held["step"]}
            found |= {f"{name}|{part}": value.detach().clone() for part, value in parts.items()}
        return found

    @torch.no_grad()
    def _restore(self, snapshot: Mapping[str, Tensor]) -> None:
        for name, leaf in self._leaves.items():
            held = self._optimiser.state[leaf]
            parts = {"leaf": leaf, "mean": held["exp_avg"], "square": held["exp_avg_sq"], "count": held["step"]}
            for part, value in parts.items():
                value.copy_(snapshot[f"{name}|{part}"])

    def _file(self) -> LoopFile:
        now = self._snapshot()
        return LoopFile(
            step=self._state.step,
            strength=self._state.strength,
            failures=self._failures,
            good_step=self._good_step,
            tensors={
                f"{at}|{name}": value
                for at, held in (("now", now), ("good", self._good))
                for name, value in held.items()
            },
            history=tuple(self._history),
            work=(self._state.tokens_read, self._state.tokens_learned),
        )

    def _take(self, file: LoopFile) -> None:
        """Go on where a file stopped."""
        state = self._state
        state.step, state.strength = file.step, file.strength
        self._failures, self._good_step, self._history = file.failures, file.good_step, list(file.history)
        state.tokens_read, state.tokens_learned = file.work
        halves = {at: {name: file.tensors[f"{at}|{name}"] for name in self._good} for at in ("now", "good")}
        self._good = {name: halves["good"][name].to(value) for name, value in self._good.items()}
        self._restore(halves["now"])


def _generator(seed: int, step: int) -> Generator:
    """Return a generator that belongs to a seed and a step."""
    word = hashlib.sha256(f"training|{seed}|protective|{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(word[:8], "little") >> 1)


def _visits(state: ProtectiveState, part: str, size: int, seed: int, skipped: int) -> Iterator[ChosenRows]:
    """Yield the rows of every step from ``skipped`` on; none where the owner gave none."""
    count = state.learner.sizes.get(part, 0)
    if not count:
        while True:
            yield ChosenRows(part, ())
    stream = order(count, seed=seed, label=f"protective|{part}")
    for _ in islice(stream, skipped * size):
        pass
    while True:
        yield ChosenRows(part, tuple(islice(stream, size)))
