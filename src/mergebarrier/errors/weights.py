"""What can be wrong while weights are described, merged, protected or realigned (MB2 to MB5)."""

from mergebarrier.errors.base import MergebarrierError


class ArchError(MergebarrierError):
    """The model does not have the architecture that its configuration promises.

    The codes below say why; this one is not used by itself.
    """

    code = "MB2000"


class UnknownFamily(ArchError):
    """The architecture of the model is not supported by this command.

    `merge` works for any architecture; docs/add_a_family.md shows how to add one.
    """

    code = "MB2001"


class UnknownTensor(ArchError):
    """The model holds a tensor that its architecture does not have.

    Use a model whose architecture is as published, without added layers.
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

    Use a model without the feature that the message names, or leave out this step.
    """

    code = "MB2005"


class BadTable(ArchError):
    """The table of a family breaks the language of tables, or contradicts itself.

    Correct the line that the message names; docs/add_a_family.md shows a table.
    """

    code = "MB2006"


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

    Merge models that were fine-tuned from one base; where only some tie their embeddings, the message says what to
    do.
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

    Give the model that yours was fine-tuned from; its model card usually names it.
    """

    code = "MB5001"


class NothingToAlign(RealignError):
    """Model and base have the same weights, or weights too large to be compared.

    Give a fine-tuned model and its base; between equal weights there is nothing to undo.
    """

    code = "MB5002"
