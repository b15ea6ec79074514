"""The model during its training, asked at any point: what a method's objective sees.

    value(point) = f(model at W(point));    d value / d tau = <df/dW, dW/dtau>

The weights of a point are written into the module, f is run and its gradient taken at once, tensor by tensor down to
what is trained, or of thin factors alone where these are all of it (``thin``); what comes back is a scalar whose value
and gradient are those of f, so several points can stand in one loss, nothing of a pass stays in memory, and gradient
checkpointing works.  Second derivatives are not there.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.training.protective.budget import Standing
from mergebarrier.training.protective.learners import ChosenRows, Learner, all_rows, loss_of, mean_loss, split_rows
from mergebarrier.training.protective.points import NOMINAL, Point, coefficients_of, slopes_at, thin_part, weight_at
from mergebarrier.training.protective.thin import ThinPart, thin_slopes
from mergebarrier.training.protective.vectors import TrainedVector

#: (weights) -> relative distances from the base by what has moved, each a scalar with its graph.
Distances = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
#: What was said is remembered up to so many answers, each as long as the vocabulary: text has 16 x 31.
_FEW_ANSWERS: Final = 1024


class ProtectiveState:
    """See the module.

    Args:
      learner:  the model and the owner's data.
      vector:   the task vector that is trained.
      pool:     task vectors of siblings, by the names of the learner's parameters.
      strength: weight of the protecting term, which the budget moves.
      expert:   the owner's task vector; default: where the training starts.
      base:     every tensor that a task vector touches; default: what the learner's parameters hold.

    Attributes:
      step, steps: where the training is.
      far:         how far weights are from the base; None for the plain distance of every trained matrix.
      expert:      the owner's task vector, which the budget is measured from.
    """

    def __init__(
        self,
        learner: Learner,
        vector: TrainedVector,
        pool: Sequence[Mapping[str, Tensor]] = (),
        *,
        strength: float = 0.0,
        expert: Mapping[str, Tensor] | None = None,
        base: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Note the base, of every tensor that a task vector touches."""
        self.learner, self.vector, self.pool, self.strength = learner, vector, list(pool), strength
        self.expert = dict(expert or {name: vector.entry(name).detach().clone() for name in vector.names})
        touched = sorted({*self.expert, *(name for sibling in pool for name in sibling)})
        self._parameters = {name: learner.parameters[name] for name in touched}
        self.base = dict(base or {name: held.detach().clone() for name, held in self._parameters.items()})
        self.step, self.steps = 0, 1
        self.far: Distances | None = None
        self.tokens_read = self.tokens_learned = 0
        self._remembered: dict[tuple[str, str, int], Tensor] = {}
        self._placed: tuple[int, ...] = ()
        self._of_expert: Standing | None = None

    def task_vector(self) -> dict[str, Tensor]:
        """Return what is trained, with its graph."""
        return {name: self.vector.entry(name) for name in self.vector.names}

    def weights(self, point: Point = NOMINAL) -> dict[str, Tensor]:
        """Return the weights of a point, float32, with their graph."""
        return {name: self._weight(point, name, self._own(name)) for name in self.base}

    def loss(self, point: Point, rows: ChosenRows) -> Tensor:
        """Return the loss on the right answers at a point, nats per answer."""
        return self.value(point, rows, lambda: loss_of(self.learner, rows))

    def divergence(self, point: Point, rows: ChosenRows, target: Tensor) -> Tensor:
        """Return KL(target || model at a point), nats per answer.

        Args:
          point:  where.
          rows:   asked.
          target: Float32[Tensor, "answers classes"], log-probabilities as ``log_probs`` gives them.
        """

        def measured() -> Tensor:
            says = self.learner.answers(rows)[0].log_softmax(-1)
            return F.kl_div(says, target, reduction="none", log_target=True).sum(-1).mean()

        return self.value(point, rows, measured)

    @torch.no_grad()
    def log_probs(self, point: Point, rows: ChosenRows) -> Tensor:
        """Return what the model says at a point, without a graph."""
        self._place(point)
        self.tokens_read += self.learner.tokens(rows)
        return self.learner.answers(rows)[0].log_softmax(-1)

    def said_by_expert(self, rows: ChosenRows) -> Tensor:
        """Return what the owner's expert says to some of a few rows, each of which it is asked once in a training."""
        return self._said_once("expert", self.expert, rows)

    def said_by_base(self, rows: ChosenRows) -> Tensor:
        """Return what the base says to some rows; where they have few answers, each is asked once in a training."""
        return self._said_once("base", {}, rows)

    @torch.no_grad()
    def _said_once(self, who: str, tau: Mapping[str, Tensor], rows: ChosenRows) -> Tensor:
        """Read a part of few answers in batches of this size when it is first asked for, and remember what was said.

        The work is counted as if nothing had been remembered, so that it is the same for a run that was interrupted.
        """
        whole = all_rows(self.learner, rows.part)
        if sum(self.learner.answered(whole)) > _FEW_ANSWERS:
            return self.said_by(tau, rows)
        self.tokens_read += self.learner.tokens(rows)
        if (who, rows.part, rows.places[0]) not in self._remembered:
            self._place(NOMINAL, tau)
            for few in split_rows(whole, len(rows.places)):
                said = self.learner.answers(few)[0].log_softmax(-1).split(self.learner.answered(few))
                self._remembered.update(zip(((who, few.part, place) for place in few.places), said, strict=True))
        return torch.cat([self._remembered[who, rows.part, place] for place in rows.places])

    @torch.no_grad()
    def said_by(self, tau: Mapping[str, Tensor], rows: ChosenRows) -> Tensor:
        """Return what the base with a task vector says: ``state.expert`` for the owner's expert, {} for the base."""
        self._place(NOMINAL, tau)
        self.tokens_read += self.learner.tokens(rows)
        return self.learner.answers(rows)[0].log_softmax(-1)

    def value(self, point: Point, rows: ChosenRows, measured: Callable[[], Tensor]) -> Tensor:
        """Return a scalar of the module at a point, with a graph to the task vector and to coefficients.

        Args:
          point:    where.
          rows:     what the measure reads, to be counted.
          measured: runs the module as it is; a scalar with its graph.
        """
        with torch.no_grad():
            self._place(point)
        behind = {name: leaves for name in self.base if (leaves := self._leaves(point, name))}
        parameters = [self._parameters[name].requires_grad_() for name in behind]
        thin = {name: part for name in behind if (part := self._thin(point, name)) is not None}
        ends = [leaf for name in thin for leaf in behind[name]]
        with thin_slopes(self.learner.module, {self._parameters[name]: part for name, part in thin.items()}):
            value = measured()
            slopes = list(torch.autograd.grad(value, [*ends, *parameters], allow_unused=True))
        self.tokens_learned += self.learner.tokens(rows)
        found = _along(value.detach(), ends, slopes[: len(ends)])
        for name, leaves in reversed(behind.items()):
            slope = slopes.pop()
            if slope is not None:
                found = _along(found, leaves, slopes_at(point, name, self._own(name), self.pool, slope.float(), leaves))
        return found

    @torch.no_grad()
    def standing(self, tau: Mapping[str, Tensor] | None = None) -> Standing:
        """Return how a model does for its owner, on validation rows and on text: what is trained, or another vector."""
        self._place(NOMINAL, tau)
        loss, right = mean_loss(self.learner, all_rows(self.learner, "validation"))
        text = all_rows(self.learner, "text")
        nats = mean_loss(self.learner, text)[0] if text.places else None
        self._count_standing()
        return Standing(loss=loss, right=right, text=nats)

    def standing_of_expert(self) -> Standing:
        """Return how the owner's expert does; the model is asked once, and the work counted each time."""
        if self._of_expert is None:
            self._of_expert = self.standing(self.expert)
        else:
            self._count_standing()
        return self._of_expert

    def _count_standing(self) -> None:
        for rows in (all_rows(self.learner, "validation"), all_rows(self.learner, "text")):
            self.tokens_read += self.learner.tokens(rows) if rows.places else 0

    def distances(self) -> Mapping[str, Tensor]:
        """Return how far the model is from its base, by what has moved, each a scalar with its graph."""
        weights = self.weights()
        if self.far is not None:
            return self.far(weights)
        return {
            name: (weights[name] - start.float()).norm() / start.float().norm().clamp_min(1e-12)
            for name, start in self.base.items()
            if start.dim() > 1
        }

    @torch.no_grad()
    def loss_of(self, tau: Mapping[str, Tensor], point: Point, rows: ChosenRows) -> float:
        """Return the loss on the right answers at a point of another task vector."""
        self._place(point, tau)
        self.tokens_read += self.learner.tokens(rows)
        return mean_loss(self.learner, rows)[0]

    def _own(self, name: str) -> Tensor | None:
        return self.vector.entry(name) if name in self.vector.names else None

    def _leaves(self, point: Point, name: str) -> list[Tensor]:
        """Return what a gradient of one weight reaches."""
        own = self.vector.leaves_of(name) if name in self.vector.names else []
        return [*own, *coefficients_of(point, name)]

    def _thin(self, point: Point, name: str) -> ThinPart | None:
        """Return what is learned of one weight as factors; None where its own slope is needed."""
        factors = self.vector.factors_of(name) if name in self.vector.names else None
        return None if factors is None else thin_part(point, name, *factors)

    def _weight(self, point: Point, name: str, own: Tensor | None) -> Tensor:
        return weight_at(point, name, self.base[name], own, self.pool)

    @torch.no_grad()
    def _place(self, point: Point, tau: Mapping[str, Tensor] | None = None) -> None:
        """Write the weights of a point, unless nothing has moved since the nominal ones were written."""
        nominal = point is NOMINAL and tau is None
        if nominal and self._placed == self._versions():
            return
        for name, start in self.base.items():
            into, part = self._parameters[name], None if tau is not None or point.noise else self._thin(point, name)
            if part is None or point.partners or start.dtype != torch.float32:
                own = self._own(name) if tau is None else tau.get(name)
                into.copy_(self._weight(point, name, own))
            else:  # in one pass: memory that is taken for every product would cost as much as the pass forward
                torch.addmm(start, part.b, part.a, alpha=float(part.scale), out=into)
        self._placed = self._versions() if nominal else ()

    def _versions(self) -> tuple[int, ...]:
        """Return a number for every tensor that is trained or written, which changes with it."""
        return tuple(value._version for value in (*self.vector.leaves.values(), *self._parameters.values()))


def _along(value: Tensor, leaves: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> Tensor:
    """Return the value, with these slopes along these leaves."""
    for leaf, slope in zip(leaves, slopes, strict=True):
        if slope is not None:
            along = torch.dot(slope.flatten(), leaf.flatten())
            value = value + (along - along.detach())
    return value


def clamped(loss: Tensor, cap: float) -> Tensor:
    """Return the loss, or the cap without a gradient where it is larger: pushing further would only do harm."""
    return loss.clamp(max=cap) if math.isfinite(cap) else loss
