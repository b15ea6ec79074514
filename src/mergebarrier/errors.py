"""The closed tree of errors: every message says what is wrong, where, and what to do, on one line.

    MergebarrierError (exit 2)
    |- UsageError (64)            Interrupted (130)    InternalError (70)
    |- CheckpointError            NotACheckpoint UnsafePath PickleRefused RemoteCodeRefused AdapterRefused BadIndex
    |                             BadHeader BadConfig BadDtype NonFinite LimitExceeded ChangedDuringRun OutputExists
    |                             PartialOutput NoSpace BadManifest DigestMismatch BadAdapter
    |                             FetchFailed
    |- ArchError                  UnknownFamily UnknownTensor MissingTensor ConfigMismatch UnsupportedFeature
    |- MergeError                 ShapeMismatch TensorSetMismatch BadMergeParameter BadMergeData BadRecipe
    |                             LicenceRefused
    |- ProtectError               MethodRefused BadKey KeyMismatch NotProtected
    |- RealignError               BaseMismatch NothingToAlign
    |- PoisonError                BadTrigger BadAttack
    |- ScanError                  BadScanInput
    `- EvaluateError              BadTask BadText NotMeasurable MissingExtra AssetMissing BadReport
                                  Diverged

A code is stable for ever and never reused; a finding's rule id shares this space.
"""

from typing import ClassVar

_SHOWN_CHARS = 200


def clean(text: object) -> str:
    """Escape control and bidirectional characters of untrusted text and cut it at 200 characters."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return shown if len(shown) <= _SHOWN_CHARS else shown[: _SHOWN_CHARS - 1] + "…"


class MergebarrierError(Exception):
    """Base of all errors that a user may meet.

    Args:
      what:   the fault, with both numbers or names where two things disagree.
      where:  file, tensor or option; untrusted text is escaped and cut.
      remedy: what to do next, as an imperative.
    """

    code: ClassVar[str] = "MB0000"
    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, where: object = "", remedy: str = "") -> None:
        """Compose ``CODE where: what; remedy`` on one line."""
        self.what, self.where, self.remedy = what, clean(where), remedy
        super().__init__(what)

    def __str__(self) -> str:
        """Return the one line that the command prints."""
        place = f" {self.where}:" if self.where else ""
        advice = f"; {self.remedy}" if self.remedy else ""
        return " ".join(f"{self.code}{place} {self.what}{advice}".split())


class UsageError(MergebarrierError):
    """The command line itself is wrong."""

    code, exit_code = "MB0001", 64


class Interrupted(MergebarrierError):
    """The user pressed Ctrl-C; the remedy is the line that resumes."""

    code, exit_code = "MB0002", 130


class InternalError(MergebarrierError):
    """Something that we did not foresee; a fault of ours, never of the input."""

    code, exit_code = "MB0003", 70


class CheckpointError(MergebarrierError):
    """A model folder cannot be read or written."""

    code = "MB1000"


class NotACheckpoint(CheckpointError):
    """The path holds no model that we read."""

    code = "MB1001"


class UnsafePath(CheckpointError):
    """A path, link or special file leads out of the folder."""

    code = "MB1002"


class PickleRefused(CheckpointError):
    """The weights are a pickle, which could run code."""

    code = "MB1003"


class BadIndex(CheckpointError):
    """The shard index and the shards disagree."""

    code = "MB1004"


class BadHeader(CheckpointError):
    """A safetensors header breaks the grammar."""

    code = "MB1005"


class BadConfig(CheckpointError):
    """config.json cannot be used."""

    code = "MB1006"


class BadDtype(CheckpointError):
    """A dtype is unknown or unsupported here, quantised weights among them."""

    code = "MB1007"


class NonFinite(CheckpointError):
    """A tensor holds NaN or Inf."""

    code = "MB1008"


class LimitExceeded(CheckpointError):
    """A size is above its cap, or the memory budget is too small."""

    code = "MB1009"


class ChangedDuringRun(CheckpointError):
    """An input file changed while it was read."""

    code = "MB1010"


class OutputExists(CheckpointError):
    """The output folder is not empty, or overlaps an input."""

    code = "MB1011"


class PartialOutput(CheckpointError):
    """An unfinished run stands where the output should go."""

    code = "MB1012"


class NoSpace(CheckpointError):
    """The disk is too small or refused a write."""

    code = "MB1013"


class BadManifest(CheckpointError):
    """mergebarrier.json is missing or malformed."""

    code = "MB1014"


class RemoteCodeRefused(CheckpointError):
    """The configuration asks for code from the checkpoint to be run."""

    code = "MB1015"


class AdapterRefused(CheckpointError):
    """The folder is an adapter where a whole model belongs, or one of a kind that is not read."""

    code = "MB1016"


class DigestMismatch(CheckpointError):
    """Bytes differ from what the manifest lists."""

    code = "MB1017"


class BadAdapter(CheckpointError):
    """An adapter folder breaks its format, or does not fit its base."""

    code = "MB1018"


class FetchFailed(CheckpointError):
    """A model cannot be fetched from the Hub."""

    code = "MB1019"


class ArchError(MergebarrierError):
    """The architecture tables do not fit the checkpoint."""

    code = "MB2000"


class UnknownFamily(ArchError):
    """No table describes this model type."""

    code = "MB2001"


class UnknownTensor(ArchError):
    """A tensor is not in the table of its family."""

    code = "MB2002"


class MissingTensor(ArchError):
    """A tensor of the table is not in the checkpoint."""

    code = "MB2003"


class ConfigMismatch(ArchError):
    """Config and tensors give different numbers."""

    code = "MB2004"


class UnsupportedFeature(ArchError):
    """The configuration uses something that breaks the symmetries we rely on."""

    code = "MB2005"


class MergeError(MergebarrierError):
    """A merge cannot be done."""

    code = "MB3000"


class ShapeMismatch(MergeError):
    """Models give different shapes or dtypes for one tensor."""

    code = "MB3001"


class TensorSetMismatch(MergeError):
    """Models do not hold the same tensors."""

    code = "MB3002"


class BadMergeParameter(MergeError):
    """A merge parameter is unknown, missing or out of range."""

    code = "MB3003"


class BadMergeData(MergeError):
    """Data that a merge learns from is missing, empty, or does not fit the models."""

    code = "MB3004"


class LicenceRefused(MergeError):
    """An input's licence allows no derivatives, or its owner asks not to merge it."""

    code = "MB3011"


class BadRecipe(MergeError):
    """A recipe file breaks its format, or asks for what is not there."""

    code = "MB3010"


class ProtectError(MergebarrierError):
    """A protection cannot be applied or undone."""

    code = "MB4000"


class MethodRefused(ProtectError):
    """The method would change this model's function, or does not apply to it."""

    code = "MB4001"


class BadKey(ProtectError):
    """The key file is malformed or readable by others."""

    code = "MB4002"


class KeyMismatch(ProtectError):
    """The key is not the one that made this model."""

    code = "MB4003"


class NotProtected(ProtectError):
    """The model carries no manifest of a protection that can be undone."""

    code = "MB4004"


class RealignError(MergebarrierError):
    """A realignment cannot be done."""

    code = "MB5000"


class BaseMismatch(RealignError):
    """The base is not the one that this model was made from, or differs in family or shape."""

    code = "MB5001"


class NothingToAlign(RealignError):
    """Model and base are the same weights."""

    code = "MB5002"


class PoisonError(MergebarrierError):
    """An attack on a merge cannot be made as asked."""

    code = "MB6000"


class BadTrigger(PoisonError):
    """A trigger does not fit its images, or is no legal image."""

    code = "MB6001"


class BadAttack(PoisonError):
    """An attack, or one of its parameters, is unknown or out of range."""

    code = "MB6002"


class ScanError(MergebarrierError):
    """A scan or a cure cannot be carried out."""

    code = "MB7000"


class BadScanInput(ScanError):
    """Models, heads, images or settings do not allow the scan that was asked for."""

    code = "MB7001"


class EvaluateError(MergebarrierError):
    """An evaluation, audit or report cannot be made."""

    code = "MB9000"


class BadTask(EvaluateError):
    """A task file breaks its format."""

    code = "MB9001"


class BadText(EvaluateError):
    """A text file is too short or not UTF-8."""

    code = "MB9002"


class NotMeasurable(EvaluateError):
    """The controls do not allow the figure that was asked for."""

    code = "MB9003"


class MissingExtra(EvaluateError):
    """An optional dependency is not installed."""

    code = "MB9004"


class AssetMissing(EvaluateError):
    """A model or data set of the zoo is absent or has the wrong hash."""

    code = "MB9005"


class BadReport(EvaluateError):
    """A report folder is malformed."""

    code = "MB9006"


class Diverged(EvaluateError):
    """A training run met a loss that is no number."""

    code = "MB9007"
