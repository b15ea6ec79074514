"""Undo any protection that only changes coordinates: estimate the gauge against the public base, then apply its
inverse.

Every axis is estimated in turn (streams, heads, entries of heads, neurons) and one group element per axis is applied to
all tensors that carry it, so the function is kept exactly whatever the error of the estimate, and the task vector stays
in the model.  Keys do not matter: any two gauges of one model lead to the same point, so the strength of a
symmetry-only protection against this attack is what canonicalising an unprotected model loses, which is nothing.

    g* = argmin_g sum |g . W' - W_base|^2,   recovered = g* . W',   f(recovered) = f(W')

Source: the orbit argument and the coupled solve are ours; the published anchor-guided attack (arXiv 2606.30360, see
``aga``) solves each matrix alone and loses part of the task vector.  Sweeps: the streams are estimated again from all
matched matrices until they no longer change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import symmetry
from mergebarrier.checkpoint import OutputFolder
from mergebarrier.errors import BaseMismatch
from mergebarrier.lazy import torch
from mergebarrier.parameters import check_values, whole
from mergebarrier.realign.gains import LastGain, restore_gains, trades_gains
from mergebarrier.realign.realignment import Aligned, Folded, check_stock, cosines, pieces, read
from mergebarrier.realign.streams import FoundStream, correlate, streams_of

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit, Instance
    from mergebarrier.realign.realignment import ParallelMap
    from mergebarrier.symmetry import Correlation, Element, Elements, Tensors

# A fine-tune stays far nearer to its base than this; two independent models, once matched, stay far below it.
_MIN_COSINE = 0.5


@dataclass(frozen=True)
class FittedGauge:
    """A fitted gauge with its diagnostics: circuit -> elements.

    Attributes:
      still: names of circuits in which no gain was traded.
    """

    gauge: Mapping[str, Elements]
    still: Collection[str]
    diagnostics: dict[str, object]
    output: OutputFolder = field(default_factory=OutputFolder)
    unfolded: LastGain | None = None

    def apply(
        self, circuit: Circuit, tensors: MutableMapping[str, Tensor], anchor: Tensors
    ) -> Mapping[str, Tensor] | Iterator[tuple[str, Tensor]]:
        """Apply the inverse gauge; then give traded gains back to the readers, so that the base's gains are kept."""
        elements = self.gauge[circuit.name]
        if self.unfolded is None and circuit.name in self.still:
            return symmetry.act_rows(circuit, symmetry.inverted(circuit, elements), tensors)
        moved = symmetry.act_inverse(circuit, elements, tensors)
        moved = restore_gains(circuit, moved, anchor, folded=self.unfolded is not None)
        return moved if self.unfolded is None else self.unfolded.apply(circuit, moved, anchor)


@dataclass(frozen=True, kw_only=True)
class GaugeFix:
    """Hyper-parameters of ``gaugefix``.

    Raises: UsageError.
    """

    name: ClassVar[str] = "gaugefix"
    about: ClassVar[str] = "keeps what the model computes, exactly"
    preserves_function: ClassVar[bool] = True
    needs_base: ClassVar[bool] = True

    sweeps: int = whole(6, low=1, help="Most re-estimations of the residual streams.")

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    @property
    def label(self) -> str:
        """Return the name for people."""
        return self.name

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> FittedGauge:
        """Estimate the gauge of ``model`` against ``anchor``.

        Raises: BaseMismatch when matching does not bring the model near the anchor; MethodRefused for polynomials.
        """
        check_stock(architecture, model)
        inner = [circuit for circuit in architecture.circuits if is_inner(circuit)]
        streams = {axis: FoundStream.of(architecture, axis, model, anchor) for axis in streams_of(architecture)}
        shared = _shared_orders(architecture, _elements(streams), model, anchor)
        sweeps, converged = 0, False
        matches: list[_Match] = []
        while sweeps < self.sweeps and not converged:
            sweeps += 1
            match_one = partial(_match, streams=streams, shared=shared, model=model, anchor=anchor)
            matches, totals = [], {axis: stream.seen for axis, stream in streams.items()}
            for found, shares in parallel(match_one, inner):
                matches.append(found)
                totals = {axis: total + shares[axis] if axis in shares else total for axis, total in totals.items()}
            again = {axis: stream.again(totals[axis]) for axis, stream in streams.items()}
            converged = again == streams
            streams = again
        after = sum(match.cosine_after for match in matches) / len(matches)
        if after < _MIN_COSINE:
            raise BaseMismatch(
                f"the mean cosine to the base after matching is {after:.2f}; fine-tuned models are above {_MIN_COSINE}",
                where=anchor.path,
                remedy="give the base that the model was fine-tuned from",
            )
        known: dict[Instance, Element] = {**_elements(streams), **shared}
        found_at = {circuit.name: match for circuit, match in zip(inner, matches, strict=True)}
        gauge = {
            circuit.name: {
                **{one: known[one] for one in circuit.instances if one in known},
                **(found_at[circuit.name].elements if circuit.name in found_at else {}),
            }
            for circuit in architecture.circuits
        }
        traded = sum(match.trades_gains for match in matches)
        diagnostics = {
            "sweeps": sweeps,
            "converged": converged,
            "mean_cosine_before": sum(match.cosine_before for match in matches) / len(matches),
            "mean_cosine_after": after,
            "spaces_moved": spaces_moved(architecture, gauge),
            "bit_exact": not traded and all(symmetry.bit_exact(elements) for elements in gauge.values()),
            "circuits": {
                circuit.name: {"cosine_before": match.cosine_before, "cosine_after": match.cosine_after}
                for circuit, match in zip(inner, matches, strict=True)
            },
            "flops": sweeps * sweep_flops(architecture, model),
            "tokens": 0,
        }
        still = {name for name, match in found_at.items() if not match.trades_gains}
        turned = any(isinstance(stream.element, symmetry.LinearMap) for stream in streams.values())
        last = LastGain.of(architecture, model, anchor) if turned else None
        return FittedGauge(gauge, still, diagnostics, unfolded=last)


@dataclass(frozen=True)
class _Match:
    elements: Elements
    cosine_before: float
    cosine_after: float
    trades_gains: bool


def is_inner(circuit: Circuit) -> bool:
    """Whether a circuit has elements of its own, or shares orders of heads."""
    return any(not circuit.axis(one).is_stream for one in circuit.instances)


def _elements(streams: Mapping[str, FoundStream]) -> dict[Instance, Element]:
    return {(axis, ()): stream.element for axis, stream in streams.items()}


def _match(
    circuit: Circuit, streams: Mapping[str, FoundStream], shared: Elements, model: Checkpoint, anchor: Checkpoint
) -> tuple[_Match, dict[str, Correlation]]:
    """Estimate the elements of one circuit, and what it says about entries of the streams that are not clear."""
    known = {one: element for one, element in {**_elements(streams), **shared}.items() if one in circuit.instances}
    # In the stored dtype, each tensor widened when it is looked at: a circuit is held twice, its stacks are not at all.
    base, aligned = Aligned(circuit, {}, anchor), Aligned(circuit, known, model)
    now, then = Folded(circuit, aligned), Folded(circuit, base)
    same = all(torch.equal(*both) for member in circuit.members for both in pieces(circuit, member, aligned, base))
    elements = {} if same else symmetry.estimate(circuit, now, then, known=known)
    undone = symmetry.Reverted(circuit, elements, aligned) if elements else aligned
    matched = Folded(circuit, undone)
    before, after = cosines(circuit, then, now, matched)
    shares = {
        axis: correlate(circuit, axis, matched, then, stream.unclear)
        for axis, stream in streams.items()
        if len(stream.unclear) and (axis, ()) in known
    }
    return _Match(elements, before, after, trades_gains(circuit, undone, base)), shares


def _shared_orders(
    architecture: Architecture, streams: Elements, model: Checkpoint, anchor: Checkpoint
) -> dict[Instance, Element]:
    """Estimate orders of heads that all layers of a stack share, from the sum of what every layer says."""
    axes = architecture.table.axes
    totals: dict[Instance, Tensor] = {}
    for circuit in architecture.circuits:
        for one in circuit.instances:
            if axes[one[0]].scope or axes[one[0]].is_stream:
                continue
            now, then = Folded(circuit, read(circuit, model)), Folded(circuit, read(circuit, anchor))
            here = {other: streams[other] for other in circuit.instances if other in streams}
            aligned = symmetry.Reverted(circuit, here, now)
            for found in symmetry.similarities(circuit, one, aligned, then, set(here)):
                totals[one] = totals[one] + found if one in totals else found
    return {one: symmetry.best_order(total) for one, total in totals.items()}


def spaces_moved(architecture: Architecture, gauge: Mapping[str, Elements]) -> list[str]:
    """Return the names of the spaces in which any element differs from the identity."""
    moved: dict[str, None] = {}
    for circuit in architecture.circuits:
        for one, element in gauge[circuit.name].items():
            if not element.is_identity():
                moved[circuit.axis(one).space] = None
    return list(moved)


def sweep_flops(architecture: Architecture, model: Checkpoint) -> int:
    """Leading terms of one sweep: correlations over all weights, and cosines of all pairs of neurons."""
    weights = sum(info.numel for info in model.tensors.values())
    residual = [name for name, axis in architecture.table.axes.items() if axis.space == "residual"]
    widest = max(circuit.sizes[name] for circuit in architecture.circuits[:1] for name in residual)
    pairs = sum(
        circuit.sizes[one[0]] ** 2 for circuit in architecture.circuits for one in circuit.instances
        if circuit.axis(one).space == "neurons"
    )  # fmt: skip
    return 2 * weights * widest + 6 * pairs * widest
