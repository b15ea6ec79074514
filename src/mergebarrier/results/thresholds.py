"""The thresholds of an audit, and the letter of its grade, in one place.

    broken   RUF >= BROKEN_AT
    grade    the letter of the lowest level that is broken; A when none of the graded levels is

A letter belongs to the number of a level and not to the attack there, so a result can be graded and read
without the code that made it.  Levels above the last number here are measured and shown, and never change a grade.
"""

from collections.abc import Mapping
from typing import Final

from mergebarrier.results.audit import Grade

#: Recovered utility fraction from which on a level counts as having broken the protection.
BROKEN_AT: Final = 0.9
#: How far the best unprotected merge must be above the best single model.
MIN_MARGIN: Final = 0.1
#: How far an expert must be above the base on its own task.
MIN_EXPERT_GAIN: Final = 0.05
#: number of a level -> the grade of a protection that falls there.
LETTERS: Final[Mapping[int, Grade]] = {0: "D", 1: "D", 2: "C", 3: "C", 4: "B", 5: "B"}
#: The highest level of the ladder as it is planned.
TOP_LEVEL: Final = 8
#: The grade of a protection that none of these levels breaks.
UNBROKEN: Final[Grade] = "A"
