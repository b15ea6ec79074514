"""Git Re-Basin by weight matching: orders of streams, heads and neurons, each by linear assignment, the others held.

    for every order P in turn:   A = sum over the tensors that carry it of <X, X_0>, the other orders undone in X,
                                 P <- argmax_P <P, A>                                 until no order changes

It undoes protections that are permutations, and no more: signs, scales, turned planes and bases of heads stay as they
are.  What it writes computes what the model computed, whatever it found.

Source: arXiv 2209.04836, algorithm 1.  We differ: streams start from the rows that correspond, and every circuit is
swept until it stands still, instead of a random order of all; rows are compared by cosine, so that a loud one does not
outbid a quiet one; heads and experts are orders too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import symmetry
from mergebarrier.lazy import torch
from mergebarrier.parameters import check_values, whole
from mergebarrier.realign.gaugefix import FittedGauge, is_inner, spaces_moved, sweep_flops
from mergebarrier.realign.realignment import Aligned, check_stock, cosines, read
from mergebarrier.realign.streams import correlate, plain_correlation

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit, Instance
    from mergebarrier.realign.realignment import ParallelMap
    from mergebarrier.symmetry import Correlation, Elements, Monomial, Tensors

_KINDS = ("order", "glu", "signed", "centred")
# Sweeps over the orders of one circuit, while those that the whole model shares are held.
_INNER_SWEEPS = 10


@dataclass(frozen=True, kw_only=True)
class Rebasin:
    """Hyper-parameters of ``rebasin``.

    Raises: UsageError.
    """

    name: ClassVar[str] = "rebasin"
    label: ClassVar[str] = "rebasin"
    about: ClassVar[str] = "published weight matching, which finds orders alone"
    preserves_function: ClassVar[bool] = True
    needs_base: ClassVar[bool] = True

    sweeps: int = whole(6, low=1, help="Most sweeps over all orders.")

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> FittedGauge:
        """Match ``model`` with ``anchor``; whether that brought them near each other is for the caller to see.

        Raises: MethodRefused for polynomials.
        """
        check_stock(architecture, model)
        inner = [circuit for circuit in architecture.circuits if is_inner(circuit)]
        rows = {
            one: plain_correlation(architecture, one[0], model, anchor, None)
            for one in dict.fromkeys(one for circuit in architecture.circuits for one in _shared(circuit))
        }
        shared: dict[Instance, Monomial] = {one: symmetry.signed_order(found, "order") for one, found in rows.items()}
        sweeps, converged = 0, False
        matches: list[_Matched] = []
        while sweeps < self.sweeps and not converged:
            sweeps += 1
            matches = list(parallel(partial(_match, shared=shared, model=model, anchor=anchor), inner))
            changes = {one: _change(one, rows[one], shared[one], matches) for one in shared}
            converged = all(change.is_identity() for change in changes.values())
            if not converged and sweeps < self.sweeps:
                shared = {one: shared[one].after(changes[one]) for one in shared}
        found_at = {circuit.name: match.elements for circuit, match in zip(inner, matches, strict=True)}
        gauge: dict[str, Elements] = {
            circuit.name: {one: shared[one] for one in _shared(circuit)} | dict(found_at.get(circuit.name, {}))
            for circuit in architecture.circuits
        }
        diagnostics: dict[str, object] = {
            "sweeps": sweeps,
            "converged": converged,
            "mean_cosine_before": sum(match.cosine_before for match in matches) / len(matches),
            "mean_cosine_after": sum(match.cosine_after for match in matches) / len(matches),
            "spaces_moved": spaces_moved(architecture, gauge),
            "bit_exact": True,
            "circuits": {
                circuit.name: {"cosine_before": match.cosine_before, "cosine_after": match.cosine_after}
                for circuit, match in zip(inner, matches, strict=True)
            },
            "flops": sweeps * sweep_flops(architecture, model),
            "tokens": 0,
        }
        return FittedGauge(gauge, [circuit.name for circuit in architecture.circuits], diagnostics)


@dataclass(frozen=True)
class _Matched:
    """The orders inside a circuit, and what it then says of those that it shares with others."""

    elements: Elements
    shares: Mapping[Instance, Correlation]
    cosine_before: float
    cosine_after: float


def _orders(circuit: Circuit) -> list[Instance]:
    """Return the elements of a circuit that are looked for, outer ones first."""
    return [one for one in circuit.instances if circuit.axis(one).kind in _KINDS]


def _shared(circuit: Circuit) -> list[Instance]:
    return [one for one in _orders(circuit) if not circuit.axis(one).scope]


def _match(circuit: Circuit, shared: Mapping[Instance, Monomial], model: Checkpoint, anchor: Checkpoint) -> _Matched:
    """Sweep over the orders inside one circuit until none changes."""
    known = {one: shared[one] for one in _shared(circuit)}
    now, then = Aligned(circuit, known, model), read(circuit, anchor)
    local = [one for one in _orders(circuit) if one not in known]
    still = {one: _still(circuit, one) for one in local}
    found: Elements = still
    for _ in range(_INNER_SWEEPS):
        before = found
        for one in local:
            change = still | {one: _best(circuit, one, symmetry.Reverted(circuit, found, now), then)}
            if not change[one].is_identity():
                found = symmetry.composed(circuit, found, change)
        if found is before:
            break
    matched = symmetry.Reverted(circuit, found, now)
    shares = {one: correlate(circuit, one[0], matched, then) for one in known}
    return _Matched(found, shares, *cosines(circuit, then, read(circuit, model), matched))


def _still(circuit: Circuit, one: Instance) -> Monomial:
    batch = 1
    for name in circuit.batches[one]:
        batch *= circuit.sizes[name]
    return symmetry.identity(batch, circuit.sizes[one[0]])


def _best(circuit: Circuit, one: Instance, now: Tensors, then: Tensors) -> Monomial:
    """Return the order that all tensors which carry it like best, all other orders taken as they stand."""
    rows = [row for row in symmetry.carriers(circuit, one, now, then, lambda other: True) if not row.vector]
    totals = [symmetry.Correlation.zero(circuit.sizes[one[0]]) for _ in _still(circuit, one).perm]
    for row in rows:
        for entry, (here, there) in enumerate(row.entries()):
            totals[entry] += symmetry.Correlation.of(here.T, there.T)
    found = [symmetry.signed_order(total, "order") for total in totals]
    return symmetry.Monomial(torch.cat([one.perm for one in found]), torch.cat([one.factor for one in found]))


def _change(one: Instance, rows: Correlation, element: Monomial, matches: list[_Matched]) -> Monomial:
    """Return the order that is left of a shared one, by rows that correspond and by every circuit."""
    everyone = torch.arange(len(rows.total))
    total = sum((match.shares[one] for match in matches if one in match.shares), start=rows.within(element, everyone))
    return symmetry.signed_order(total, "order")
