"""What a scan reports: one finding per statement, with the figure, the limit it crossed, and what the check cannot see.

A rule is a line of a literal table: its title, the severity of a hit, and the blind spots that are printed with it.  A
scan that found nothing says which checks ran, and no more than that.

    hit  <=>  value > threshold

Source: SARIF 2.1.0 for the shape (rule, level, message).  Differs: every rule carries its own blind spots.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from mergebarrier.errors import clean

Evidence = Mapping[str, str | float | None]
Severity = Literal["critical", "high", "medium", "low", "info"]
#: From the gravest down; the position is the order.
SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "high", "medium", "low", "info")


@dataclass(frozen=True)
class FindingRule:
    """What a rule states, how grave a hit is, and what its check cannot see."""

    title: str
    severity: Severity
    cannot_see: str


_WEIGHTS_ONLY: Final = (
    "a payload of ordinary size and direction: BadMerging changes the weights as much as an honest fine-tune does; an "
    "honest expert of another recipe is as far from a pool, so this is a note"
)
_PROFILE_ONLY: Final = (
    "a payload that was trained as an honest update is, and whoever trained against these numbers; an honest update by "
    "a recipe a little apart is unusual too, so this is a note"
)
_PLACES_ONLY: Final = (
    "triggers that are not a patch (blended, dynamic, whole-image), patches much smaller than the searched size, and "
    "payloads that aim at the head of a task that was not given"
)
_CARRIERS_ONLY: Final = (
    "triggers that change an image more, or in another way, than a shift, a blend, waves, a warp, four corners or a "
    "few pixels, and payloads that aim at the head of a task that was not given"
)
_FILES_ONLY: Final = "what a harmless name or an unusual format hides from these checks of files"
_STRINGS_ONLY: Final = (
    "triggers whose parts do nothing by themselves, content or style as a trigger, targets that vary with the prompt, "
    "tasks whose prompts were not given, and what only another weight or method of merging would wake"
)
_QUESTIONS_ONLY: Final = (
    "questions of another kind, refusals and agreements in words that are not on the lists, an upload that was taught "
    "to tell these questions from others, and what another weight or method of merging would do"
)
#: Something could not be looked at; a scan with such a finding is not complete, whatever else it found.
UNSEEN: Final = "MB7100"
REFUSED: Final = "MB7101"
#: An update without references of its recipe.
NOT_JUDGED: Final = "MB7206"
RULES: Final[dict[str, FindingRule]] = {
    UNSEEN: FindingRule("Something could not be looked at.", "high", "anything in what was not looked at"),
    REFUSED: FindingRule("The folder is refused by the strict reader.", "high", "what the refused files hold"),
    "MB7102": FindingRule(
        "The folder calls itself an attack artefact.", "high", "attack artefacts whose mark was removed"
    ),
    "MB7103": FindingRule(
        "The owner does not want this model merged.", "info", "wishes that are not written in the folder"
    ),
    "MB7104": FindingRule(
        "The model does not hold the tensors of its base.", "medium", "models of another base of the same shapes"
    ),
    "MB7105": FindingRule(
        "The model is not an ordinary fine-tune of its base.", "medium", "models of unsupported families"
    ),
    "MB7106": FindingRule(
        "The folder names code, which a loader that trusts it runs; a stock class needs none.",
        "medium",
        "what that code does: it is neither run nor read",
    ),
    "MB7107": FindingRule(
        "A pickle lies in the folder.", "medium", "names that picklescan does not know to be dangerous"
    ),
    "MB7108": FindingRule("A program lies in the folder.", "high", "what the program does"),
    "MB7109": FindingRule("A template does what a template need not do.", "critical", "what a template says in words"),
    "MB7110": FindingRule("An archive lies in the folder.", "medium", "what the archive holds, beyond names"),
    "MB7111": FindingRule("Weights lie in the folder that the model does not name.", "medium", "what they hold"),
    "MB7112": FindingRule("A file is of a kind that no check looks into.", "info", "what it holds"),
    "MB7113": FindingRule("A link or a special file lies in the folder.", "critical", _FILES_ONLY),
    "MB7201": FindingRule("The norm of a task vector is far from the pool's.", "info", _WEIGHTS_ONLY),
    "MB7202": FindingRule("The norms over the tensors have another profile than the pool's.", "info", _WEIGHTS_ONLY),
    "MB7203": FindingRule(
        "The signs of a task vector agree with the pool unusually well or badly.", "info", _WEIGHTS_ONLY
    ),
    "MB7204": FindingRule("A task vector is unusually concentrated in one direction.", "info", _WEIGHTS_ONLY),
    "MB7205": FindingRule("The update is unusual among honest ones by its recipe.", "info", _PROFILE_ONLY),
    NOT_JUDGED: FindingRule("The update was not judged: its recipe has no reference.", "info", _PROFILE_ONLY),
    "MB7207": FindingRule("The update is not the adapter that it says it is.", "medium", _PROFILE_ONLY),
    "MB7301": FindingRule(
        "A patch found by search forces one class in an expert and not in the base.", "high", _PLACES_ONLY
    ),
    "MB7302": FindingRule("The forced class survives when the task vector is scaled down.", "high", _PLACES_ONLY),
    "MB7303": FindingRule(
        "A patch found by search forces one class in the merge and not in the base.", "high", _PLACES_ONLY
    ),
    "MB7304": FindingRule("Leaving one model out of the merge takes the forced class away.", "high", _PLACES_ONLY),
    "MB7305": FindingRule(
        "A change of the whole image found by search forces one class in an expert and not in the base.",
        "high",
        _CARRIERS_ONLY,
    ),
    "MB7401": FindingRule(
        "Neural Cleanse: one class needs a far smaller mask than the others.", "medium", _PLACES_ONLY
    ),
    "MB7501": FindingRule("An input collapses the output of an upload, and not of its base.", "high", _STRINGS_ONLY),
    "MB7502": FindingRule("An upload gives one answer to most prompts as they are.", "medium", _STRINGS_ONLY),
    "MB7503": FindingRule("An input collapses the output of the merge, and not of the base.", "high", _STRINGS_ONLY),
    "MB7504": FindingRule("One model alone brings the input that collapses the merge.", "high", _STRINGS_ONLY),
    "MB7505": FindingRule("An upload agrees to what nobody can answer.", "high", _QUESTIONS_ONLY),
    "MB7506": FindingRule("The merge answers what one of its models refuses.", "high", _QUESTIONS_ONLY),
    "MB7507": FindingRule("One model alone takes the refusals out of the merge.", "high", _QUESTIONS_ONLY),
    "MB7508": FindingRule("A token changes most answers of an upload, and not of its base.", "medium", _STRINGS_ONLY),
}


@dataclass(frozen=True)
class Finding:
    """One statement about one model, or about a merge.

    Args:
      rule:        a key of ``RULES``.
      model:       the name of the model it is about; of all that were merged where it is about the merge.
      message:     one sentence with the figures.
      value:       the figure that was compared.
      threshold:   what it was compared with.
      pool_median: the median of the same figure over the pool; None where there is no pool.
      evidence:    further figures and names, flat.
      severity:    that of the rule, unless the evidence makes it graver or lighter.
      file:        the file of the model that it is about, below its folder; "" for the model as a whole.
      line:        of a text, from 1, where it is known.
      offset:      byte of the file, where it is known.
    """

    rule: str
    model: str
    message: str
    value: float | None = None
    threshold: float | None = None
    pool_median: float | None = None
    evidence: Evidence = field(default_factory=dict)
    severity: Severity = "high"
    file: str = ""
    line: int | None = None
    offset: int | None = None

    @property
    def fingerprint(self) -> str:
        """Return what stays the same in the next version of an upload: figures, digests and places are left out."""
        words = (self.rule, self.severity, self.model, self.file, str(self.evidence.get("code", "")))
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]

    @property
    def cannot_see(self) -> str:
        """Return what the check behind the rule cannot see."""
        return RULES[self.rule].cannot_see


def finding(
    rule: str,
    model: str,
    message: str,
    *,
    value: float | None = None,
    threshold: float | None = None,
    pool_median: float | None = None,
    severity: Severity | None = None,
    evidence: Evidence | None = None,
) -> Finding:
    """Make a finding of the severity of its rule, unless another is given; the margin to its limit is evidence."""
    grave = RULES[rule].severity if severity is None else severity
    margin = {} if value is None or threshold is None else {"margin": value - threshold}
    return Finding(rule, model, message, value, threshold, pool_median, {**(evidence or {}), **margin}, grave)


@dataclass(frozen=True)
class Place:
    """A file of a model, and where in it."""

    file: str
    line: int | None = None
    offset: int | None = None


def file_finding(
    rule: str,
    model: str,
    message: str,
    at: Place,
    *,
    severity: Severity | None = None,
    evidence: Evidence | None = None,
) -> Finding:
    """Make a finding about one file of a model; its name is untrusted, and is escaped."""
    found = finding(rule, model, message, severity=severity, evidence=evidence)
    return replace(found, file=clean(at.file), line=at.line, offset=at.offset)


def at_least(findings: Sequence[Finding], severity: Severity) -> tuple[Finding, ...]:
    """Return the findings that are as grave as ``severity`` or graver."""
    limit = SEVERITIES.index(severity)
    return tuple(one for one in findings if SEVERITIES.index(one.severity) <= limit)


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Sort by gravity, then by rule and model; the order of detection does not matter."""
    return tuple(sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), one.rule, one.model, one.file)))
