"""What can be wrong while attacks, scans, evaluations, audits, reports and evidence are made (MB6 to MB9)."""

from mergebarrier.errors.base import MergebarrierError


class PoisonError(MergebarrierError):
    """An attack on a merge cannot be made.

    The codes below say why; this one is not used by itself.
    """

    code = "MB6000"


class BadTrigger(PoisonError):
    """A trigger does not fit the images, or holds values that no image can have.

    Use the trigger file that `attack` wrote, on images of its task.
    """

    code = "MB6001"


class BadAttack(PoisonError):
    """An attack, or one of its parameters, is unknown or out of range.

    The message names the allowed values.
    """

    code = "MB6002"


class ScanError(MergebarrierError):
    """A scan or a cure cannot be carried out.

    The codes below say why; this one is not used by itself.
    """

    code = "MB7000"


class BadScanInput(ScanError):
    """The models, tasks or settings do not allow the requested scan.

    The message names what is missing; docs/scan.md says what each check needs.
    """

    code = "MB7001"


class ProvenanceError(MergebarrierError):
    """Evidence about where a model comes from cannot be had.

    The codes below say why; this one is not used by itself.
    """

    code = "MB8000"


class NotComparable(ProvenanceError):
    """Two models have nothing that could be compared.

    Compare models with MLPs of one kind, as the message says.
    """

    code = "MB8001"


class NotIdentified(ProvenanceError):
    """The inputs do not determine the shares of a merge.

    Give the base, and candidates that differ from it and from each other, as the message says.
    """

    code = "MB8002"


class EvaluateError(MergebarrierError):
    """An evaluation, audit or report cannot be made.

    The codes below say why; this one is not used by itself.
    """

    code = "MB9000"


class BadTask(EvaluateError):
    """A task file, or a folder of pictures, breaks its format.

    Correct the line or file that the message names; docs/formats.md describes both.
    """

    code = "MB9001"


class BadText(EvaluateError):
    """A text file is missing, too short or not UTF-8.

    Give a longer plain text file in UTF-8.
    """

    code = "MB9002"


class NotMeasurable(EvaluateError):
    """A control measurement failed, so the figure that was asked for would mean nothing.

    Give models and tasks on which each expert beats the base and the unprotected merge works; the message says which
    failed.
    """

    code = "MB9003"


class MissingExtra(EvaluateError):
    """A Python package that this verb needs is missing.

    Install the extra that the message names; `mergebarrier doctor` lists them all.
    """

    code = "MB9004"


class AssetMissing(EvaluateError):
    """A model or data set of the zoo is absent or has the wrong hash.

    Run `mergebarrier zoo fetch NAME`.
    """

    code = "MB9005"


class BadReport(EvaluateError):
    """A report folder, or a file of findings, is malformed.

    Give the folder that `audit` wrote, or the file of findings that `scan` wrote, unchanged.
    """

    code = "MB9006"


class Diverged(EvaluateError):
    """Training diverged: the loss is NaN or infinite.

    Lower the learning rate or the loss weight.
    """

    code = "MB9007"


class ServiceFailed(EvaluateError):
    """A model behind a server cannot be asked, or its replies have another form.

    See whether the server runs and speaks the protocol that the message names.
    """

    code = "MB9008"


class NoDevice(EvaluateError):
    """The graphics processor that was asked for is not there.

    Give `--device cpu`, or install a torch that is built for this machine.
    """

    code = "MB9010"


class WorkerLost(EvaluateError):
    """A worker of an audit ended in the middle of its task, three times at the same one.

    What was finished stays finished: go on with `--resume`, with fewer `--workers` where memory ran out.
    """

    code = "MB9009"
