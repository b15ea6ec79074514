"""Undo any protection that only changes coordinates: estimate the gauge against the public base, then apply its
inverse.

Every space is estimated in turn (stream, heads, value/output, query/key, neurons) and one group element per space is
applied to both of its partners, so the function is kept exactly whatever the error of the estimate, and the task vector
stays in the model.  Keys do not matter: any two gauges of one model lead to the same point, so the strength of a
symmetry-only protection against this attack is what canonicalising an unprotected model loses, which is nothing.

    g* = argmin_g sum |g . W' - W_base|^2,   recovered = g* . W',   f(recovered) = f(W')

Source: the orbit argument and the coupled solve are ours; the published anchor-guided attack (arXiv 2606.30360, see
``aga``) solves each matrix alone and loses part of the task vector.  Sweeps: the stream is estimated again from all
matched matrices until it no longer changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from mergebarrier import symmetry
from mergebarrier.arch import LOGICAL, Architecture, Circuit
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import BaseMismatch, UsageError
from mergebarrier.realign.realignment import ParallelMap, Tensors, cosine, folded, read, row_blocks
from mergebarrier.symmetry import Correlation, Residual

# A fine-tune stays far nearer to its base than this; two independent models, once matched, stay far below it.
_MIN_COSINE = 0.5
# Gains this far from the base's (as a ratio) are a traded gain, not a fine-tune.
_GAIN_TRADE = 0.15


@dataclass(frozen=True)
class FittedGauge:
    """A fitted gauge with its diagnostics."""

    gauge: symmetry.Gauge
    diagnostics: dict[str, Any]

    def apply(self, circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
        """Apply the inverse gauge; then give traded gains back to the readers, so that the base's gains are kept."""
        moved = symmetry.act_inverse(circuit, self.gauge.elements[circuit.name], tensors)
        return _restore_gains(moved, anchor)


@dataclass(frozen=True)
class GaugeFix:
    """Hyper-parameters of ``gaugefix``.

    Args:
      sweeps: most re-estimations of the residual stream, >= 1.
    """

    name: ClassVar[str] = "gaugefix"
    preserves_function: ClassVar[bool] = True

    sweeps: int = 6

    def __post_init__(self) -> None:
        """Validate."""
        if self.sweeps < 1:
            raise UsageError(f"sweeps = {self.sweeps}, at least 1 is needed", where="--sweeps")

    @property
    def label(self) -> str:
        """Return the name for people."""
        return self.name

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> FittedGauge:
        """Estimate the gauge of ``model`` against ``anchor``.

        Raises: BaseMismatch when matching does not bring the model near the anchor.
        """
        stream = symmetry.residual_space(architecture.dims)
        inner = [circuit for circuit in architecture.circuits if circuit.kind in ("attn", "mlp")]
        vocabulary = _correlate_vocabulary(architecture, stream, model, anchor)
        residual = stream.from_correlation(vocabulary)
        sweeps, converged = 0, False
        matches: list[_Match] = []
        while sweeps < self.sweeps and not converged:
            sweeps += 1
            match_one = partial(_match, stream=stream, undo=stream.inverse(residual), model=model, anchor=anchor)
            matches, total = [], vocabulary
            for found, share in parallel(match_one, inner):
                matches.append(found)
                total = total + share
            again = stream.from_correlation(total)
            converged = torch.equal(again.perm, residual.perm) and torch.equal(again.sign, residual.sign)
            residual = again
        after = sum(match.cosine_after for match in matches) / len(matches)
        if after < _MIN_COSINE:
            raise BaseMismatch(
                f"the mean cosine to the base after matching is {after:.2f}; fine-tuned models are above {_MIN_COSINE}",
                where=anchor.path,
                remedy="give the base that the model was fine-tuned from",
            )
        elements: dict[str, symmetry.Elements] = {
            circuit.name: {symmetry.RESIDUAL: residual} for circuit in architecture.circuits
        }
        for circuit, found in zip(inner, matches, strict=True):
            elements[circuit.name] = found.elements | {symmetry.RESIDUAL: residual}
        diagnostics = {
            "sweeps": sweeps,
            "converged": converged,
            "mean_cosine_before": sum(match.cosine_before for match in matches) / len(matches),
            "mean_cosine_after": after,
            "spaces_moved": _moved(architecture, elements),
            "bit_exact": all(symmetry.bit_exact(c, elements[c.name]) for c in architecture.circuits),
            "circuits": {
                circuit.name: {"cosine_before": match.cosine_before, "cosine_after": match.cosine_after}
                for circuit, match in zip(inner, matches, strict=True)
            },
            "flops": sweeps * _flops(architecture),
            "tokens": 0,
        }
        return FittedGauge(symmetry.Gauge(elements), diagnostics)


@dataclass(frozen=True)
class _Match:
    elements: symmetry.Elements
    cosine_before: float
    cosine_after: float


def _match(
    circuit: Circuit, stream: Residual, undo: Any, model: Checkpoint, anchor: Checkpoint
) -> tuple[_Match, Correlation]:
    """Estimate the inner spaces of one circuit and its share in the next estimate of the stream."""
    now, then = folded(read(circuit, model)), folded(read(circuit, anchor))
    aligned = stream.act(undo, now)
    before = cosine(now, then)
    elements: symmetry.Elements = {}
    spaces = symmetry.spaces(circuit)
    # Outermost first: the order of heads must be undone before what happens inside them can be seen.
    for name in [name for name in reversed(spaces) if name != symmetry.RESIDUAL]:
        elements[name] = spaces[name].estimate(aligned, then)
        aligned = spaces[name].act(spaces[name].inverse(elements[name]), aligned)
    inner_undone = symmetry.act_inverse(circuit, elements, now)
    return _Match(elements, before, cosine(aligned, then)), stream.correlate(inner_undone, then)


def _correlate_vocabulary(
    architecture: Architecture, stream: Residual, model: Checkpoint, anchor: Checkpoint
) -> Correlation:
    """Sum over embedding, positions and head, whose rows correspond."""
    blocks = (
        pair
        for circuit in architecture.circuits
        if circuit.rowwise
        for pair in zip(row_blocks(circuit, model), row_blocks(circuit, anchor), strict=True)
    )
    return sum((stream.correlate(now, then) for now, then in blocks), start=Correlation.zero(stream.hidden))


def _restore_gains(tensors: dict[str, Tensor], anchor: Tensors) -> dict[str, Tensor]:
    """Where gains were traded against readers, put the base's gains back; otherwise change nothing."""
    gain, shift = tensors.get("norm.weight"), tensors.get("norm.bias")
    readers = [name for name in tensors if LOGICAL[name].stream == "columns"]
    if gain is None or shift is not None or not readers:
        return tensors
    wanted = anchor["norm.weight"].double()
    ratio = gain.double() / wanted
    if bool(((ratio - 1).abs() <= _GAIN_TRADE).all()) or float(wanted.abs().min()) <= 1e-3 * float(wanted.abs().max()):
        return tensors
    return {
        name: anchor[name].clone() if name == "norm.weight" else tensor.double() * ratio if name in readers else tensor
        for name, tensor in tensors.items()
    }


def _moved(architecture: Architecture, elements: Mapping[str, symmetry.Elements]) -> list[str]:
    """Return the names of the spaces in which any circuit differs from the identity."""
    moved = []
    for circuit in architecture.circuits:
        for name, space in symmetry.spaces(circuit).items():
            if name in elements[circuit.name] and name not in moved:
                here, still = elements[circuit.name][name], space.identity()
                same = symmetry.Gauge({"c": {"s": here}}).to_tensors()
                identity = symmetry.Gauge({"c": {"s": still}}).to_tensors()
                if same.keys() != identity.keys() or any(not torch.equal(same[k], identity[k]) for k in same):
                    moved.append(name)
    return moved


def _flops(architecture: Architecture) -> int:
    """Leading terms of one sweep: correlations over all weights, and cosines of all pairs of neurons."""
    dims = architecture.dims
    weights = sum(circuit.n_elements() for circuit in architecture.circuits)
    return 2 * weights * dims.hidden + 6 * dims.mlp_width**2 * dims.hidden * dims.n_layers
