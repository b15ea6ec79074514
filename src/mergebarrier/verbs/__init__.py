"""Where the rooms meet: protect, unprotect, realign and merge model folders into another.

Each function plans, streams through ``run`` into a crash-proof writer, and commits a manifest that says what was done
to what.  The command line and the audit call these and nothing deeper; there is no mathematics here.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import TrainedFigures
    from mergebarrier.verbs.adapters import by_adapters
    from mergebarrier.verbs.checks import Checks, MergeInput
    from mergebarrier.verbs.cleanse import CureRequest, cleansed
    from mergebarrier.verbs.families import BROKEN, KEPT, AxisCheck, ClassCheck, check_class, check_tables
    from mergebarrier.verbs.fingerprint import Marked, marked_model
    from mergebarrier.verbs.folders import Models, OutputOptions, carried, environment, named_input, of_attack
    from mergebarrier.verbs.import_gguf import import_gguf, stored_dtype
    from mergebarrier.verbs.inputs import licence
    from mergebarrier.verbs.job import (
        MergeJob,
        by_recipe,
        equal_inputs,
        judged_inputs,
        manifest_request,
        merge,
        whole_models,
    )
    from mergebarrier.verbs.learned import (
        Calibration,
        by_learning,
        fit_memory_budget,
        learn_merge,
        learning_bytes,
        plan_fallback,
    )
    from mergebarrier.verbs.moved import MovedTensor, moved_adapter, other_base, write_moved
    from mergebarrier.verbs.parents import parents
    from mergebarrier.verbs.pools import merge_weights
    from mergebarrier.verbs.protect import dry_run, protect, remarks
    from mergebarrier.verbs.provenance import relate_models
    from mergebarrier.verbs.realign import Undone, check_realign, realign, undone_by_realignment
    from mergebarrier.verbs.scan import ScanResult, scan
    from mergebarrier.verbs.scan_request import ScanRequest
    from mergebarrier.verbs.stress import Stressed, stress
    from mergebarrier.verbs.trained import OwnersData, TrainingRequest, plan_training, train_protection
    from mergebarrier.verbs.unprotect import (
        authenticated,
        changed_files,
        protection_from,
        protection_manifest,
        unprotect,
    )
    from mergebarrier.verbs.update_scan import UpdateScan

__all__ = [
    "BROKEN",
    "KEPT",
    "AxisCheck",
    "Calibration",
    "Checks",
    "ClassCheck",
    "CureRequest",
    "Marked",
    "MergeInput",
    "MergeJob",
    "Models",
    "MovedTensor",
    "OutputOptions",
    "OwnersData",
    "ScanRequest",
    "ScanResult",
    "Stressed",
    "TrainedFigures",
    "TrainingRequest",
    "Undone",
    "UpdateScan",
    "authenticated",
    "by_adapters",
    "by_learning",
    "by_recipe",
    "carried",
    "changed_files",
    "check_class",
    "check_realign",
    "check_tables",
    "cleansed",
    "dry_run",
    "environment",
    "equal_inputs",
    "fit_memory_budget",
    "import_gguf",
    "judged_inputs",
    "learn_merge",
    "learning_bytes",
    "licence",
    "manifest_request",
    "marked_model",
    "merge",
    "merge_weights",
    "moved_adapter",
    "named_input",
    "of_attack",
    "other_base",
    "parents",
    "plan_fallback",
    "plan_training",
    "protect",
    "protection_from",
    "protection_manifest",
    "realign",
    "relate_models",
    "remarks",
    "scan",
    "stored_dtype",
    "stress",
    "train_protection",
    "undone_by_realignment",
    "unprotect",
    "whole_models",
    "write_moved",
]

lazy.open_door(__name__)
