"""Level 5: learn the gauge by gradient, from where realignment ended, until the line to the partner has no barrier.

    minimise over g, the gauge    KL(P || W_t) + KL(O || W_t)    W_t = (1 - t) g . P' + t O,   t ~ U(0.4, 0.6) and 1 - t

P' is the realigned model, O the partner; nobody's labels are needed, only rows of both tasks, on which both published
models are asked.  Every g leaves the function as it is.  Source: learned re-basin, arXiv 2506.22712, both directions as
in 2606.23607.  Differs: initialised by ``gaugefix``; of the gauges met on the way the one of the least KL half-way is
kept, the start among them, so this level begins where level 2 ends.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import symmetry
from mergebarrier.audit.bench import TASKS, Bench, Blend, spread
from mergebarrier.audit.ladder.descent import GaugeDescent
from mergebarrier.audit.ladder.learn import LEARN
from mergebarrier.audit.ladder.level import Level
from mergebarrier.audit.ladder.realign import flops_with, go_on, once
from mergebarrier.audit.ladder.teachers import ROWS, Teachers
from mergebarrier.lazy import torch
from mergebarrier.results import State

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint, OutputFolder
    from mergebarrier.circuits import Architecture, Circuit
    from mergebarrier.symmetry import Elements, Tensors

_STATE, _START = "rebasin", "gaugefix"
_RATE = 5e-3
_LOOKS = 4
_NEAREST, _SPREAD = 0.4, 0.2


@dataclass(frozen=True)
class LearnedGauge:
    """A gauge that was learned, circuit by circuit, with what the learning found."""

    gauge: "Mapping[str, Elements]"
    diagnostics: dict[str, object]
    output: "OutputFolder"

    def apply(
        self, circuit: "Circuit", tensors: "MutableMapping[str, Tensor]", anchor: "Tensors"
    ) -> "Iterator[tuple[str, Tensor]]":
        """Act with it."""
        return symmetry.act_rows(circuit, self.gauge[circuit.name], tensors)


@dataclass(frozen=True, kw_only=True)
class LearnedRebasin:
    """What a learned gauge depends on: steps and rate, the rows, the partner.  ``fit`` is given where it is run."""

    name: ClassVar[str] = "learned_rebasin"
    label: ClassVar[str] = "learned_rebasin"
    about: ClassVar[str] = "a gauge learned by gradient"
    preserves_function: ClassVar[bool] = True
    needs_base: ClassVar[bool] = True

    steps: int
    rate: float
    seed: int
    partner: str
    rows: tuple[str, ...]


def prepare(bench: Bench) -> float:
    """Learn the gauge of the realigned model and open the result."""
    asked = LearnedRebasin(
        steps=bench.spec.rebasin_steps,
        rate=_RATE,
        seed=bench.spec.seed,
        partner=bench.digest("partner"),
        rows=tuple(bench.rows_id(task, "validation") for task in TASKS),
    )
    return go_on(bench, _STATE, asked, lambda architecture, model, _: learn_gauge(bench, asked, architecture, model))


def learn_gauge(bench: Bench, asked: LearnedRebasin, architecture: "Architecture", model: "Checkpoint") -> LearnedGauge:
    """Learn; see the module."""
    from mergebarrier.checkpoint import OutputFolder
    from mergebarrier.training import batches, uniform

    blend = bench.live.blend(bench.checkpoints["base"], model, bench.checkpoints["partner"])
    teachers, line = Teachers(blend, bench), _Line(bench, blend, architecture, model, asked.rate)
    rows = {
        task: batches(len(bench.rows(task, "validation")), ROWS, seed=asked.seed, label=f"rebasin|{task}")
        for task in TASKS
    }
    places = (_NEAREST + _SPREAD * uniform(asked.seed, "rebasin", asked.steps)).tolist()
    met: list[tuple[float, dict[str, Elements]]] = [(line.half_way(teachers), line.gauge)]
    for step, place in enumerate(places, 1):
        chosen = {task: next(rows[task]).tolist() for task in TASKS}
        for t in (place, 1.0 - place):
            line.slope_at(t, teachers, chosen)
        line.step()
        if step % max(1, asked.steps // _LOOKS) == 0 or step == asked.steps:
            met.append((line.half_way(teachers), line.gauge))
    least, gauge = min(met, key=lambda one: one[0])
    bench.live.release()
    found: dict[str, object] = {"half_way_before": met[0][0], "half_way_after": least, "tokens": tokens(bench)}
    return LearnedGauge(gauge, found, OutputFolder())


@dataclass(kw_only=True)
class _Moved:
    """One circuit: what is learned of it, its tensors before and as they are moved now, and gradients of these."""

    descent: GaugeDescent
    start: "dict[str, Tensor]"
    now: "dict[str, Tensor]"
    gradients: "dict[str, Tensor]" = field(default_factory=dict)


class _Line:
    """The straight line from the moved model to the partner, in the module of the bench."""

    def __init__(
        self, bench: Bench, blend: Blend, architecture: "Architecture", model: "Checkpoint", rate: float
    ) -> None:
        from mergebarrier.evaluate import parameter_names

        self._live, self._blend = bench.live, blend
        self._parameters = dict(bench.live.module.named_parameters())
        self._circuits: dict[str, _Moved] = {}
        stored = [name for circuit in architecture.circuits for name in circuit.tensors]
        self._names = parameter_names(bench.live.module, stored)
        for circuit in architecture.circuits:
            held = {name: model.read(name).float() for name in circuit.tensors}
            self._circuits[circuit.name] = _Moved(
                descent=GaugeDescent(circuit=circuit, rate=rate), start=held, now=dict(held)
            )

    @property
    def gauge(self) -> "dict[str, Elements]":
        """The elements of every circuit as they are now."""
        return {name: dict(one.descent.elements) for name, one in self._circuits.items()}

    def half_way(self, teachers: Teachers) -> float:
        """Return the mean KL in the middle."""
        self._at(0.5)
        return teachers.mean()

    def slope_at(self, t: float, teachers: Teachers, chosen: Mapping[str, list[int]]) -> None:
        """Add what a point of the line says of every moved tensor."""
        self._at(t)
        self._live.module.requires_grad_()
        for task in TASKS:
            torch.autograd.backward(teachers.loss(task, chosen[task]))
        for one in self._circuits.values():
            for name in one.now:
                parameter = self._parameters.get(self._names.get(name, ""))
                if parameter is not None and parameter.grad is not None:
                    more = (1.0 - t) * parameter.grad.float().cpu()
                    one.gradients[name] = one.gradients[name] + more if name in one.gradients else more
                    parameter.grad = None

    def step(self) -> None:
        """Move every element against what was gathered."""
        for one in self._circuits.values():
            there = {name: one.gradients.get(name, torch.zeros_like(held)) for name, held in one.now.items()}
            if one.descent.step(one.now, there):
                acted = symmetry.act(one.descent.circuit, one.descent.elements, one.start)
                one.now = {name: tensor.float() for name, tensor in acted.items()}
            one.gradients = {}

    def _at(self, t: float) -> None:
        moved = {self._names[name]: tensor for one in self._circuits.values() for name, tensor in one.now.items()
                 if name in self._names}  # fmt: skip
        self._blend.moved(moved).write(spread((1.0 - t, t), self._blend.names))


def tokens(bench: Bench) -> int:
    """Estimate the tokens that gradients are taken of: two points of the line, some rows of each task, every step."""
    return (
        sum(bench.live.mean_tokens(bench.rows(task, "validation")) * ROWS for task in TASKS)
        * 2
        * bench.spec.rebasin_steps
    )


REBASIN: Level = replace(
    LEARN,
    number=5,
    name="rebasin",
    attack="gaugefix, then a learned gauge",
    word="rebasin",
    needs="the public base, rows of both tasks, and gradients",
    state=_STATE,
    states={_STATE: State(title="After re-basin", note="its gauge learned by gradient")},
    prepare=prepare,
    begins_with=_START,
    cost=flops_with(tokens),
    reads=tokens,
    realignments=once,
    on_request=True,
)
