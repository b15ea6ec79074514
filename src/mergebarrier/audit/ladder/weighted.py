"""Level 3, activations: fix the gauge again where inputs are, by inner products that count what the model reads.

    <w', w0>  becomes  w' C w0,   C = E[x x^T] of what a linear map reads in the realigned model

Weights that no input excites, noise that was added there above all, have no say in the estimate any more.  Only maps
that read a stream are weighted, as C^(1/2) from the right: what writes into one is matched along its inputs.  Every
gauge keeps the function, so this is ``gaugefix`` with other weights, from where that ended; shown with level 3, not
graded.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import symmetry
from mergebarrier.audit.bench import TASKS, Bench, MergeSetting
from mergebarrier.audit.ladder.edits import moments
from mergebarrier.audit.ladder.level import Level, LevelContext
from mergebarrier.audit.ladder.realign import flops, go_on, once
from mergebarrier.lazy import OnDemand, torch
from mergebarrier.results import State

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture
    from mergebarrier.realign import FittedGauge
    from mergebarrier.symmetry import Elements

_STATE, _START = "weighted", "gaugefix"
#: C^(1/2), and whether inputs are the first axis of the weights.
_Root = tuple["Tensor", bool]


@dataclass(frozen=True, kw_only=True)
class WeightedGauge:
    """What a weighted gauge depends on: the rows that excite the model.  ``fit`` is given where it is run."""

    name: ClassVar[str] = "weighted_gaugefix"
    label: ClassVar[str] = "weighted_gaugefix"
    about: ClassVar[str] = "gaugefix, weighted by activations"
    preserves_function: ClassVar[bool] = True
    needs_base: ClassVar[bool] = True

    rows: tuple[str, ...]


def prepare(bench: Bench) -> float:
    """Realign, look at what every map reads, realign again, and open the result."""
    asked = WeightedGauge(rows=tuple(bench.rows_id(task, "validation") for task in TASKS))
    return go_on(bench, _STATE, asked, lambda *given: weighted_gauge(bench, *given))


def weighted_gauge(
    bench: Bench, architecture: "Architecture", model: "Checkpoint", anchor: "Checkpoint"
) -> "FittedGauge":
    """Estimate what is left of the gauge of a realigned model, circuit by circuit."""
    from mergebarrier.evaluate import parameter_names
    from mergebarrier.realign import FittedGauge

    bench.live.load(model)
    seen = moments(bench)
    names = parameter_names(bench.live.module, model.tensors)
    stored = {name: seen[inside] for name, inside in names.items() if inside in seen}
    gauge: dict[str, Elements] = {}
    for circuit in architecture.circuits:
        axes = {one: circuit.axis(one) for one in circuit.instances}
        # What is of the whole model, the first realignment has settled.
        known = {
            one: symmetry.identity(1, circuit.sizes[one[0]])
            for one, axis in axes.items()
            if axis.is_stream or not axis.scope
        }
        readers = {member.name for member in circuit.members if circuit.norm_of(member) is not None}
        roots = {name: (_root(stored[name][0]), stored[name][1]) for name in readers & stored.keys()}
        views = [_Weighted({name: side.read(name) for name in circuit.tensors}, roots) for side in (model, anchor)]
        gauge[circuit.name] = symmetry.estimate(circuit, *views, known=known) if roots else {}
    diagnostics: dict[str, object] = {"maps_weighted": len(stored), "tokens": 0}
    return FittedGauge(gauge, gauge.keys(), diagnostics)


def _root(moment: "Tensor") -> "Tensor":
    """Return the root of second moments whose mean diagonal is one, Float32[Tensor, "inputs inputs"]."""
    values, vectors = torch.linalg.eigh(moment.double() / moment.diagonal().double().mean().clamp_min(1e-30))
    return torch.as_tensor((vectors * values.clamp_min(0.0).sqrt()) @ vectors.T).float()


class _Weighted(OnDemand["Tensor"]):
    """The tensors of a circuit, those that read a stream times the root of what they read."""

    def __init__(self, tensors: "MutableMapping[str, Tensor]", roots: Mapping[str, _Root]) -> None:
        super().__init__(tensors)
        self._tensors, self._roots = tensors, roots

    def __getitem__(self, name: str) -> "Tensor":
        tensor = self._tensors[name].float()
        if name not in self._roots:
            return tensor
        root, first = self._roots[name]
        root = root.to(tensor.device)
        return torch.as_tensor(root @ tensor if first else tensor @ root)


def grid(bench: Bench, context: LevelContext) -> Sequence[MergeSetting]:
    """Return the grid of the audit."""
    return bench.spec.settings


WEIGHTED = Level(
    number=3,
    name="weighted gauge",
    attack="gaugefix, weighted by activations",
    word=_STATE,
    needs="the public base, and rows of both tasks",
    state=_STATE,
    states={_STATE: State(title="After a weighted gaugefix", note="by activations, not graded")},
    prepare=prepare,
    begins_with=_START,
    preserves_function=True,
    settings=grid,
    cost=flops,
    realignments=once,
    asked=lambda spec: spec.weighted,
)
