"""Barrier curves: the loss on the straight line from a state of the protected expert to the partner.

The unprotected and the published expert are always measured, and every model that an attack makes.  A
loss that is not finite, or above 1,000 nats, counts as 1,000, and so does a merge that shapes refuse.
"""

from collections.abc import Sequence

from mergebarrier.audit.bench import OTHER_SHAPES, TASKS, Bench, Figures, Identity
from mergebarrier.results import Barrier, Line

_WORST_NATS = 1000.0
Points = tuple[tuple[float, float], ...]


def barrier(bench: Bench, states: Sequence[str]) -> Barrier:
    """Walk all lines.

    Args:
      bench:  holds the models.
      states: models that attacks made, lowest level first.
    """
    unprotected, unprotected_curve = walk(bench, "original")
    naive, naive_curve = walk(bench, "protected")
    attacked = {state: Line(barrier=height, curve=curve) for state in states for height, curve in [walk(bench, state)]}
    first = next(iter(attacked.values()), None)
    return Barrier(
        naive=naive,
        realigned=None if first is None else first.barrier,
        unprotected=unprotected,
        curve=naive_curve,
        curve_realigned=() if first is None else first.curve,
        curve_unprotected=unprotected_curve,
        items=min(bench.spec.barrier_items, *(len(bench.rows(task, "test")) for task in TASKS)),
        further=dict(list(attacked.items())[1:]),
    )


def walk(bench: Bench, role: str) -> tuple[float, Points]:
    """Return the barrier from a model to the partner, and its curve."""
    from mergebarrier.evaluate import barrier_curve

    found = barrier_curve(lambda t: _loss(bench, role, t), bench.spec.points)
    bench.say(f"barrier from {role} to partner: {found.barrier:.2f} nats ({bench.spec.points} points)")
    return found.barrier, found.curve


def _loss(bench: Bench, role: str, t: float) -> float:
    from mergebarrier.merge import make

    # The end of the line is the partner, whatever the beginning was.
    ends = [bench.digest("partner")] if t == 1.0 else [bench.digest(role), bench.digest("partner")]
    identity: Identity = {
        "models": ends,
        "t": t,
        "rows": [bench.rows_id(task) for task in TASKS],
        "items": bench.spec.barrier_items,
        "dtype": bench.dtype,
    }

    def compute() -> Figures:
        try:
            bench.fill(make("linear", weights=(1.0 - t, t)), [role, "partner"])
        except OTHER_SHAPES:
            return {"nats": None}
        return {"nats": bench.loss(bench.spec.barrier_items)}

    name = "partner" if t == 1.0 else f"{role} to partner at {t:g}"
    nats = bench.measure("loss", name, identity, compute, aloud=False).figures["nats"]
    return _WORST_NATS if nats is None else min(_WORST_NATS, float(nats))
