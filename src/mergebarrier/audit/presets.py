"""Settings of published studies, so that a reader can compare line by line: ``--preset`` and the number of the paper.

    2606.30360  anchor-guided attack    task arithmetic at 0.2
    2601.21898  Trap^2                  task arithmetic, TIES, DARE-TIES, TSV: one shared coefficient, 0.1 to 9.9
    2503.07661  PaRaMS                  mean, task arithmetic at 0.3 to 0.8, also after DARE, TIES at 0.8

Differs: our audits merge one partner, where the studies merge up to seven, so 0.2 may leave neither of two skills, and
the audit then says that nothing can be concluded (MB9003); Trap^2's 99 coefficients are thinned to 14, which are its
own; its CART, and the AdaMerging of PaRaMS, are no merges of the grid (level 3 learns coefficients).
"""

from collections.abc import Mapping
from typing import Final

from mergebarrier.audit.bench import MergeSetting, published
from mergebarrier.errors import UsageError

_SHARED: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.5, 5.0, 9.9)

#: arXiv number -> the grid of level 0.
PRESETS: Final[Mapping[str, tuple[MergeSetting, ...]]] = {
    "2606.30360": published(("task_arithmetic",), (0.2,)),
    "2601.21898": published(("task_arithmetic", "ties", "dare_ties", "tsv_m"), _SHARED),
    "2503.07661": (
        *published(("linear",), (0.5,)),
        *published(("task_arithmetic", "dare_linear"), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
        *published(("ties",), (0.8,)),
    ),
}


def preset(number: str) -> tuple[MergeSetting, ...]:
    """Return the grid of a paper; UsageError for one that is not known here."""
    if number not in PRESETS:
        raise UsageError(f"{number!r} is no preset", where="--preset", remedy=f"give one of {', '.join(PRESETS)}")
    return PRESETS[number]
