"""The closed tree of errors: every message says what is wrong, where, and what to do, on one line.

Each docstring is the row of its error in docs/errors.md: first what happened, then what to do.

    MergebarrierError (exit 2)
    |- UsageError (64)            Interrupted (130)    InternalError (70)
    |- CheckpointError            NotACheckpoint UnsafePath PickleRefused RemoteCodeRefused AdapterRefused BadIndex
    |                             BadHeader BadConfig BadDtype NonFinite LimitExceeded ChangedDuringRun OutputExists
    |                             PartialOutput NoSpace BadManifest DigestMismatch BadAdapter
    |                             FetchFailed NotWritable DiskFailed
    |- ArchError                  UnknownFamily UnknownTensor MissingTensor ConfigMismatch UnsupportedFeature
    |                             BadTable
    |- MergeError                 ShapeMismatch TensorSetMismatch BadMergeParameter BadMergeData BadRecipe
    |                             LicenceRefused
    |- ProtectError               MethodRefused BadKey KeyMismatch NotProtected
    |- RealignError               BaseMismatch NothingToAlign
    |- PoisonError                BadTrigger BadAttack
    |- ScanError                  BadScanInput
    |- ProvenanceError            NotComparable NotIdentified
    `- EvaluateError              BadTask BadText NotMeasurable MissingExtra AssetMissing BadReport
                                  Diverged ServiceFailed WorkerLost NoDevice

A code never changes its meaning and is never reused; the rule ids of findings are codes of the same kind.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.errors.base import (
        LOGIN,
        InternalError,
        Interrupted,
        MergebarrierError,
        UsageError,
        apart,
        clean,
        folder_name,
        odd_shape,
        plain,
        unique,
    )
    from mergebarrier.errors.checkpoint import (
        AdapterRefused,
        BadAdapter,
        BadConfig,
        BadDtype,
        BadHeader,
        BadIndex,
        BadManifest,
        ChangedDuringRun,
        CheckpointError,
        DigestMismatch,
        DiskFailed,
        FetchFailed,
        LimitExceeded,
        NonFinite,
        NoSpace,
        NotACheckpoint,
        NotWritable,
        OutputExists,
        PartialOutput,
        PickleRefused,
        RemoteCodeRefused,
        UnsafePath,
        refused_by_system,
    )
    from mergebarrier.errors.measured import (
        AssetMissing,
        BadAttack,
        BadReport,
        BadScanInput,
        BadTask,
        BadText,
        BadTrigger,
        Diverged,
        EvaluateError,
        MissingExtra,
        NoDevice,
        NotComparable,
        NotIdentified,
        NotMeasurable,
        PoisonError,
        ProvenanceError,
        ScanError,
        ServiceFailed,
        WorkerLost,
    )
    from mergebarrier.errors.weights import (
        ArchError,
        BadKey,
        BadMergeData,
        BadMergeParameter,
        BadRecipe,
        BadTable,
        BaseMismatch,
        ConfigMismatch,
        KeyMismatch,
        LicenceRefused,
        MergeError,
        MethodRefused,
        MissingTensor,
        NothingToAlign,
        NotProtected,
        ProtectError,
        RealignError,
        ShapeMismatch,
        TensorSetMismatch,
        UnknownFamily,
        UnknownTensor,
        UnsupportedFeature,
    )

__all__ = [
    "LOGIN",
    "AdapterRefused",
    "ArchError",
    "AssetMissing",
    "BadAdapter",
    "BadAttack",
    "BadConfig",
    "BadDtype",
    "BadHeader",
    "BadIndex",
    "BadKey",
    "BadManifest",
    "BadMergeData",
    "BadMergeParameter",
    "BadRecipe",
    "BadReport",
    "BadScanInput",
    "BadTable",
    "BadTask",
    "BadText",
    "BadTrigger",
    "BaseMismatch",
    "ChangedDuringRun",
    "CheckpointError",
    "ConfigMismatch",
    "DigestMismatch",
    "DiskFailed",
    "Diverged",
    "EvaluateError",
    "FetchFailed",
    "InternalError",
    "Interrupted",
    "KeyMismatch",
    "LicenceRefused",
    "LimitExceeded",
    "MergeError",
    "MergebarrierError",
    "MethodRefused",
    "MissingExtra",
    "MissingTensor",
    "NoDevice",
    "NoSpace",
    "NonFinite",
    "NotACheckpoint",
    "NotComparable",
    "NotIdentified",
    "NotMeasurable",
    "NotProtected",
    "NotWritable",
    "NothingToAlign",
    "OutputExists",
    "PartialOutput",
    "PickleRefused",
    "PoisonError",
    "ProtectError",
    "ProvenanceError",
    "RealignError",
    "RemoteCodeRefused",
    "ScanError",
    "ServiceFailed",
    "ShapeMismatch",
    "TensorSetMismatch",
    "UnknownFamily",
    "UnknownTensor",
    "UnsafePath",
    "UnsupportedFeature",
    "UsageError",
    "WorkerLost",
    "apart",
    "clean",
    "folder_name",
    "odd_shape",
    "plain",
    "refused_by_system",
    "unique",
]

lazy.open_door(__name__)
