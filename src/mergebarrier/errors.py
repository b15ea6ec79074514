"""The closed tree of errors: every message says what is wrong, where, and what to do, on one line.

The docstring of a class is its row in docs/errors.md: first what happened, then what to do.

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

A code never changes its meaning and is never reused; the rule ids of findings are codes of the same kind.
"""

from typing import ClassVar

_SHOWN_CHARS = 200


def clean(text: object, *, longest: int = _SHOWN_CHARS) -> str:
    """Escape control and bidirectional characters of untrusted text and cut it, at 200 characters by default."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


class MergebarrierError(Exception):
    """An error without a code of its own, such as a path that the system refuses.

    The message says what to do.

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
    """The command line is wrong: an unknown or missing option, or options that exclude each other.

    Read `mergebarrier VERB --help`; the message names the option.
    """

    code, exit_code = "MB0001", 64


class Interrupted(MergebarrierError):
    """Ctrl-C stopped the run.

    Run the command that the last line prints; finished work is kept.
    """

    code, exit_code = "MB0002", 130


class InternalError(MergebarrierError):
    """mergebarrier itself failed; your input is not to blame.

    Run again with `--verbose` and report the traceback.
    """

    code, exit_code = "MB0003", 70


class CheckpointError(MergebarrierError):
    """A model folder cannot be read or written.

    The codes below say why; this one is not used by itself.
    """

    code = "MB1000"


class NotACheckpoint(CheckpointError):
    """The path does not exist, or holds no model in safetensors.

    Give a folder with `config.json` and `model.safetensors` (or shards and index), or download what is missing.
    """

    code = "MB1001"


class UnsafePath(CheckpointError):
    """A path or link leads out of the model folder, or a file is not a regular file.

    Do not use a model whose index points outside its folder; otherwise replace the link by the file.
    """

    code = "MB1002"


class PickleRefused(CheckpointError):
    """The weights are a pickle, which can run code when it is opened.

    Convert them to safetensors on an isolated machine, as the message shows.
    """

    code = "MB1003"


class BadIndex(CheckpointError):
    """The shard index and the shards disagree.

    Download the model again, index and shards from one revision.
    """

    code = "MB1004"


class BadHeader(CheckpointError):
    """A safetensors file is damaged or cut off, or its header breaks the format.

    Download the file again and compare its hash with the publisher's.
    """

    code = "MB1005"


class BadConfig(CheckpointError):
    """A configuration file (`config.json`, tokenizer, image processor) cannot be used.

    Take the file from the original model again, or repair the named entry.
    """

    code = "MB1006"


class BadDtype(CheckpointError):
    """A tensor has a dtype that is not supported here, such as quantised weights.

    Use the original BF16, F16 or F32 weights.
    """

    code = "MB1007"


class NonFinite(CheckpointError):
    """A tensor, loss or output holds NaN or infinity.

    Check the named model or data; a run that diverged cannot be repaired here.
    """

    code = "MB1008"


class LimitExceeded(CheckpointError):
    """A size is above its limit, or the memory budget is too small.

    Raise the option that the message names, or use fewer `--workers`.
    """

    code = "MB1009"


class ChangedDuringRun(CheckpointError):
    """An input file changed while it was being read.

    Wait until nothing writes to it, then run again.
    """

    code = "MB1010"


class OutputExists(CheckpointError):
    """The output already exists, or overlaps an input.

    Choose another output, or replace it with `--overwrite`.
    """

    code = "MB1011"


class PartialOutput(CheckpointError):
    """An unfinished run is in the way, or another process is writing there.

    Finish it with `--resume`, or start again with `--overwrite`.
    """

    code = "MB1012"


class NoSpace(CheckpointError):
    """The disk is too small or refused a write.

    Free some space and use `--resume`, or choose another disk.
    """

    code = "MB1013"


class BadManifest(CheckpointError):
    """`mergebarrier.json` is missing or malformed.

    Use the folder exactly as mergebarrier wrote it.
    """

    code = "MB1014"


class RemoteCodeRefused(CheckpointError):
    """The configuration asks to run code that comes with the model.

    Use a version of the model that needs no custom code; it is never run here.
    """

    code = "MB1015"


class AdapterRefused(CheckpointError):
    """An adapter was given where a whole model is needed, or it is of an unsupported kind.

    Write `BASE+ADAPTER`, or merge the adapter into its base with peft first.
    """

    code = "MB1016"


class DigestMismatch(CheckpointError):
    """The bytes are not the ones that the manifest lists.

    Get the folder again; if it is your own output, check the disk.
    """

    code = "MB1017"


class BadAdapter(CheckpointError):
    """An adapter folder breaks its format, or does not fit its base.

    Give the base that the adapter was trained on, or save the adapter again with peft.
    """

    code = "MB1018"


class FetchFailed(CheckpointError):
    """A model could not be fetched from the Hugging Face Hub.

    Check the name, the revision and the connection, or download it yourself and give the folder.
    """

    code = "MB1019"


class ArchError(MergebarrierError):
    """The model does not have the architecture that its configuration promises.

    The codes below say why; this one is not used by itself.
    """

    code = "MB2000"


class UnknownFamily(ArchError):
    """The architecture is not supported for this verb.

    `merge` works for any architecture; docs/add_a_family.md shows how to add one.
    """

    code = "MB2001"


class UnknownTensor(ArchError):
    """The model holds a tensor that its architecture does not have.

    Use a model of the stock architecture, without added layers.
    """

    code = "MB2002"


class MissingTensor(ArchError):
    """The model lacks a tensor that its architecture needs.

    Download the model again, all shards.
    """

    code = "MB2003"


class ConfigMismatch(ArchError):
    """`config.json` and the weights disagree, or the configurations of two models do.

    Use the `config.json` that belongs to these weights.
    """

    code = "MB2004"


class UnsupportedFeature(ArchError):
    """The model uses a feature that is not supported here.

    The message names the feature; leave out the verb, or that model.
    """

    code = "MB2005"


class MergeError(MergebarrierError):
    """A merge cannot be done.

    The codes below say why; this one is not used by itself.
    """

    code = "MB3000"


class ShapeMismatch(MergeError):
    """One tensor has different shapes or dtypes in two models.

    Merge models that were fine-tuned from one base.
    """

    code = "MB3001"


class TensorSetMismatch(MergeError):
    """The models do not hold the same tensors.

    Merge models that were fine-tuned from one base; see the message for tied embeddings.
    """

    code = "MB3002"


class BadMergeParameter(MergeError):
    """A merge method or one of its parameters is unknown, missing or out of range.

    The message names the allowed values; docs/recipes.md lists all parameters.
    """

    code = "MB3003"


class BadMergeData(MergeError):
    """The data that a merge learns from is missing, empty, or does not fit the models.

    Give `--data` once per model, in the order of the models.
    """

    code = "MB3004"


class LicenceRefused(MergeError):
    """The licence of an input forbids derivatives, or its owner asks not to merge it.

    Leave that model out, or record that you have permission with `--acknowledge-licence`.
    """

    code = "MB3011"


class BadRecipe(MergeError):
    """A recipe breaks its format, or asks for something that its models do not have.

    Correct the line that the message names; docs/recipes.md describes the format.
    """

    code = "MB3010"


class ProtectError(MergebarrierError):
    """A protection cannot be applied or undone.

    The codes below say why; this one is not used by itself.
    """

    code = "MB4000"


class MethodRefused(ProtectError):
    """The method does not apply to this model, or would change what it computes.

    Choose the method or option that the message names.
    """

    code = "MB4001"


class BadKey(ProtectError):
    """The key file is missing, malformed, or readable by other users.

    Use the file as `protect` wrote it, with mode 0600.
    """

    code = "MB4002"


class KeyMismatch(ProtectError):
    """The key is not the one that protected this model.

    Give the key whose id the message names.
    """

    code = "MB4003"


class NotProtected(ProtectError):
    """The folder has no manifest of a protection that could be undone.

    Give the folder that `protect` wrote, with its `mergebarrier.json`.
    """

    code = "MB4004"


class RealignError(MergebarrierError):
    """A realignment cannot be done.

    The codes below say why; this one is not used by itself.
    """

    code = "MB5000"


class BaseMismatch(RealignError):
    """The base is not the one that the model was fine-tuned from, or has another architecture.

    Give the right base.
    """

    code = "MB5001"


class NothingToAlign(RealignError):
    """Model and base have the same weights.

    Give a fine-tuned model.
    """

    code = "MB5002"


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
    """The control measurements do not allow the requested figure.

    Give models and tasks on which the unprotected merge works.
    """

    code = "MB9003"


class MissingExtra(EvaluateError):
    """A Python package that this verb needs is missing.

    Install the extra that the message names; `mergebarrier doctor` lists all.
    """

    code = "MB9004"


class AssetMissing(EvaluateError):
    """A model or data set of the zoo is absent or has the wrong hash.

    Run `mergebarrier zoo fetch NAME`.
    """

    code = "MB9005"


class BadReport(EvaluateError):
    """A report folder, or a file of findings, is malformed.

    Give the folder as `audit` wrote it.
    """

    code = "MB9006"


class Diverged(EvaluateError):
    """Training diverged: the loss is NaN or infinite.

    Lower the learning rate or the loss weight.
    """

    code = "MB9007"
