"""What a search over the coefficients of single parts is, as the ladder runs it: its name, its budget, and the search.

    tuner(blend, bench, start, budget)  ->  tensor -> (coefficient of the protected expert, of the partner)

Every tuner begins where the search over two coefficients ended, sees validation rows only, and is judged by one merge
on test rows, like any other setting; the unprotected model gets the same search.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mergebarrier.audit.bench import AuditSpec, Bench, Blend, Pair


def as_many(budget: int) -> int:
    """Return one per unit of the budget."""
    return budget


def none(budget: int) -> int:
    """Return none, whatever the budget."""
    return 0


@dataclass(frozen=True, kw_only=True)
class Tuner:
    """A search over the coefficients of parts.

    Args:
      name:   the merge that its cells are called by.
      budget: evaluations or steps that an audit grants it; 0 leaves it out.
      search: fills the module of the bench with the best mix and returns its coefficients.
      looks, rows_learned, passes: what a budget comes to: looks at all validation rows, rows that gradients are taken
              of, further passes over all weights in merges; for the forecast of an audit.
    """

    name: str
    budget: Callable[[AuditSpec], int]
    search: Callable[[Blend, Bench, Pair, int], Mapping[str, Pair]]
    looks: Callable[[int], int] = as_many
    rows_learned: Callable[[int], int] = none
    passes: Callable[[int], int] = none
