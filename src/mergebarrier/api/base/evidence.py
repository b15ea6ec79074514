"""What every piece of evidence says: its claim, figures and null, what it assumes, and what it does not prove.

report.statement()  ->  one page for people who did not read the mathematics, one document for a platform
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from mergebarrier.api.base.report import Report
from mergebarrier.numerics import LEAST_TAIL


@dataclass(frozen=True, kw_only=True)
class ProvenanceInput:
    """What evidence is about: its name, and the digest of what a model or file holds, or of a server's answers."""

    role: str
    name: str
    content_digest: str


@dataclass(frozen=True, kw_only=True)
class EvidenceFinding:
    """What was found of one suspect.

    Attributes:
      about:   the model that it is about.
      says:    the finding in one sentence.
      holds:   whether p is at most the level.
      p:       after adjusting for several suspects or candidates.
      tail:    whether p is the tail of a fitted curve, and a bound where it is the least that is stated of one.
      figures: (name, value) of what it rests on.
    """

    about: str
    says: str
    holds: bool
    p: float
    tail: bool
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Said:
    """A report as its statement says it.

    Attributes:
      title:    what kind of evidence.
      null:     what p is the chance of, and how it was drawn.
      level:    at which a finding holds.
      findings: one per suspect or candidate.
    """

    title: str
    null: str
    level: float
    findings: tuple[EvidenceFinding, ...]


@dataclass(frozen=True, kw_only=True)
class ProvenanceEvidence(Report):
    """What every piece of evidence says beside its figures.

    Attributes:
      claim, assumed, not_proved: in words.
      resolution: how small a p can be here, and what that rests on: what was counted, or the tail of a fitted curve.
      command: that makes this report again.
      inputs:  every model and file with its digest.
    """

    claim: str
    assumed: tuple[str, ...]
    not_proved: tuple[str, ...]
    resolution: str
    command: str
    inputs: tuple[ProvenanceInput, ...]

    @abstractmethod
    def said(self) -> Said:
        """Return what the statement says."""


def p_value(p: float, *, tail: bool = False) -> str:
    """Return a p-value in words; of the tail of a fitted curve it is a bound where it is as small as may be stated."""
    return f"p < {LEAST_TAIL:g}" if tail and p <= LEAST_TAIL else f"p = {p:.2g}"


def listed(parts: Sequence[str]) -> str:
    """Return names in words: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
