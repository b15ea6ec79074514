"""The ladder: every level, and the attacks that are shown but not graded.

    0  stock merging    1  coefficient search    2  realignment to the public base    3  learned coefficients
    4  merging of products    5  a learned gauge    6  fine-tuning of the merge
    7  block distillation    8  full distillation

A level reuses those below it, so an audit always starts at 0.  Levels that are training runs are run where they are
asked for.
"""

from itertools import takewhile
from typing import Final

from mergebarrier.audit.bench import AuditSpec
from mergebarrier.audit.ladder.aga import AGA
from mergebarrier.audit.ladder.blocks import BLOCKS
from mergebarrier.audit.ladder.coefficients import COEFFICIENTS
from mergebarrier.audit.ladder.comparison import COMPARISON
from mergebarrier.audit.ladder.distil import DISTIL
from mergebarrier.audit.ladder.learn import LEARN
from mergebarrier.audit.ladder.level import Level
from mergebarrier.audit.ladder.naive import NAIVE
from mergebarrier.audit.ladder.product import PRODUCT
from mergebarrier.audit.ladder.public import PUBLIC
from mergebarrier.audit.ladder.realign import REALIGN
from mergebarrier.audit.ladder.rebasin import REBASIN
from mergebarrier.audit.ladder.recover import HONEST, RECOVER
from mergebarrier.audit.ladder.sibling import SIBLING
from mergebarrier.audit.ladder.weighted import WEIGHTED
from mergebarrier.errors import UsageError
from mergebarrier.results import State

LEVELS: Final[dict[int, Level]] = {
    0: NAIVE,
    1: COEFFICIENTS,
    2: REALIGN,
    3: LEARN,
    4: PRODUCT,
    5: REBASIN,
    6: RECOVER,
    7: BLOCKS,
    8: DISTIL,
}
#: Attacks that are run and shown with the level of their number, and never graded.
BESIDE: Final[dict[str, Level]] = {
    "aga": AGA,
    "sibling": SIBLING,
    "public": PUBLIC,
    "weighted": WEIGHTED,
    "honest": HONEST,
}


def states() -> dict[str, State]:
    """Return every state that a cell may have, by name, in the order of the columns of a report."""
    declared = (*LEVELS.values(), *BESIDE.values(), COMPARISON)
    return {name: state for level in declared for name, state in level.states.items()}


def built() -> str:
    """Return all levels as a range: "0-2"."""
    return f"0-{max(LEVELS)}"


def levels_from(text: str) -> tuple[int, ...]:
    """Read ``0-2``, ``0`` or ``0-1``.

    Raises: UsageError for another form, for a range that does not start at 0 (a level reuses those below it), and by
    name for a level that there is not.
    """
    first, dash, last = text.strip().partition("-")
    if first != "0" or (dash and not (last.isdecimal() and len(last) < 10)):
        raise UsageError(
            f"{text!r} is not a range of levels", where="--levels", remedy=f"write 0 or a range up to {built()}"
        )
    return checked(tuple(range(min(int(last or first), max(LEVELS) + 1) + 1)))


def checked(levels: tuple[int, ...]) -> tuple[int, ...]:
    """Return the levels; for none, those up to the first that is run on request only.

    Raises: UsageError where they do not rise from 0 or one of them is no level.
    """
    levels = levels or tuple(takewhile(lambda number: not LEVELS[number].on_request, sorted(LEVELS)))
    if levels != tuple(range(len(levels))):
        raise UsageError(f"{levels} does not rise from 0", where="levels", remedy=f"give a range up to {built()}")
    for level in levels:
        if level not in LEVELS:
            raise UsageError(f"there is no level {level}", where="--levels", remedy=f"write --levels {built()}")
    return levels


def shown_beside(spec: AuditSpec) -> list[Level]:
    """Return the ungraded attacks that an audit runs."""
    return [level for level in BESIDE.values() if level.number in spec.levels and level.asked(spec)]
