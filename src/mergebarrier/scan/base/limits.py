"""Does what a search found stand out?  A backdoor forces one class; a damaged model gives way for many.

    hit  <=>  excess > limit and (excess - rival > ALONE or excess > SURE),   rival: the largest excess of another class

Source: ours.  Differs from the anomaly index of Neural Cleanse: compared after the base is taken off, and a model with
backdoors for several classes is still found where they work nearly always.
"""

from typing import Final

#: Set by benchmarks/bench_scan_images.py on its tuning recipes, see docs/scan.md.
ALONE: Final = 0.25
SURE: Final = 0.95


def stands_out(excess: float, rival: float, limit: float) -> bool:
    """Say whether an excess is above its limit, and either alone or beyond what a damaged model shows."""
    return excess > limit and (excess - rival > ALONE or excess > SURE)
