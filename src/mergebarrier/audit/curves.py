"""Barrier curves: the loss on the straight line from a state of the protected expert to the partner.

Three of them always stand together: as published, after realignment, and of the unprotected expert.  A loss that is not
finite, or above 1,000 nats, counts as 1,000.
"""

from typing import Any

from mergebarrier.audit.bench import TASKS, Bench
from mergebarrier.results import Barrier

_WORST_NATS = 1000.0
Points = tuple[tuple[float, float], ...]


def barrier(bench: Bench, *, realigned: bool) -> Barrier:
    """Walk all three lines; the one after realignment only where there is a realigned model."""
    unprotected, unprotected_curve = _walk(bench, "original")
    naive, naive_curve = _walk(bench, "protected")
    after, after_curve = _walk(bench, "gaugefix") if realigned else (None, ())
    items = min(bench.spec.barrier_items, *(len(bench.rows(task, "test")) for task in TASKS))
    return Barrier(
        naive=naive,
        realigned=after,
        unprotected=unprotected,
        curve=naive_curve,
        curve_realigned=after_curve,
        curve_unprotected=unprotected_curve,
        items=items,
    )


def _walk(bench: Bench, role: str) -> tuple[float, Points]:
    from mergebarrier.evaluate import barrier_curve

    found = barrier_curve(lambda t: _loss(bench, role, t), bench.spec.points)
    bench.say(f"barrier from {role} to partner: {found.barrier:.2f} nats ({bench.spec.points} points)")
    return found.barrier, found.curve


def _loss(bench: Bench, role: str, t: float) -> float:
    from mergebarrier.merge import make

    # The end of the line is the partner, whatever the beginning was.
    ends = [bench.digest("partner")] if t == 1.0 else [bench.digest(role), bench.digest("partner")]
    identity: dict[str, Any] = {
        "models": ends,
        "t": t,
        "rows": [bench.rows_id(task) for task in TASKS],
        "items": bench.spec.barrier_items,
        "dtype": bench.dtype,
    }

    def compute() -> dict[str, float]:
        bench.fill(make("linear", weights=(1.0 - t, t)), [role, "partner"])
        return {"nats": bench.loss(bench.spec.barrier_items)}

    name = "partner" if t == 1.0 else f"{role} to partner at {t:g}"
    nats = bench.measure("loss", name, identity, compute, aloud=False).figures["nats"]
    return _WORST_NATS if nats is None else min(_WORST_NATS, float(nats))
