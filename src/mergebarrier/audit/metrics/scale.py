"""The scale curve: how a task vector behaves between the base and beyond the expert, before any partner is there.

    skill(s), loss(s)  of  W0 + s tau,    s = 0, 0.1, .. 1.5 and 0.95, 1.05

A plain expert keeps its skill around s = 1; a trap is a spike there.  That spike is where a merger finds the way in: a
coefficient of 1 for the protected expert, whatever the others get.  Source: Trap^2,
arXiv 2601.21898, whose training draws s.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mergebarrier.results import ScaleCurve

if TYPE_CHECKING:
    from mergebarrier.audit.bench import Bench

SCALES = tuple(sorted({*(round(0.1 * step, 1) for step in range(16)), 0.95, 1.05}))


def scale_curve(bench: "Bench", role: str, say: Callable[[str], None] = lambda line: None) -> ScaleCurve:
    """Walk the curve of one model on its own task; every point is a finished row of the audit."""
    from mergebarrier.audit.bench import OURS
    from mergebarrier.merge import make

    points = []
    for s in SCALES:

        def compute(s: float = s) -> dict[str, float]:
            bench.fill(make("task_arithmetic", coefficient=s), [role])
            score = bench.score_live(OURS)
            return {"rate": score.rate, "nats": score.nll_nats}

        identity = {"model": bench.digest(role), "base": bench.digest("base"), "scale": s, "rows": bench.rows_id(OURS)}
        figures = bench.measure(
            "scale", f"{role} at {s:g}", {**identity, "dtype": bench.dtype}, compute, aloud=False
        ).figures
        points.append((s, float(figures["rate"] or 0.0), float(1e3 if figures["nats"] is None else figures["nats"])))
    say(f"scale curve of {role}: {len(points)} points")
    return ScaleCurve(points=tuple(points))
