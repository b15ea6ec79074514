"""mergebarrier: protect open-weight models against unwanted merging, merge them, and audit both honestly.

    import mergebarrier as mb
    mb.verify("model", "protected").equal

Every verb of the command line is a function here, over folders, names of the Hub and opened checkpoints, that returns a
typed report; the rooms below hold the ideas.  Importing the package imports nothing else: what is offered is imported
when it is first taken.  A verb and its room may share a name: ``mergebarrier.protect`` is the function, and
``from mergebarrier.protect import Exact`` imports from the room.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.api import Model, Report, ResultReport, WriteOptions
    from mergebarrier.api.attack import AttackPlan, AttackReport, attack, plan_attack
    from mergebarrier.api.audit import audit
    from mergebarrier.api.audited import AuditReport
    from mergebarrier.api.base import AskOptions
    from mergebarrier.api.cleanse import CleanseReport, CleanseRequest, cleanse
    from mergebarrier.api.demo import DemoReport, demo
    from mergebarrier.api.evaluate import EvaluationReport, evaluate
    from mergebarrier.api.extract import ExtractionReport, MisleadReport, extract, mislead
    from mergebarrier.api.family import FamilyReport, check_family
    from mergebarrier.api.files import ImportReport, import_gguf
    from mergebarrier.api.fingerprint import (
        FingerprintReport,
        RecognitionReport,
        fingerprint_embed,
        fingerprint_verify,
    )
    from mergebarrier.api.image_task import HeadOptions, ImageTaskReport, image_task
    from mergebarrier.api.inspect import InspectReport, inspect
    from mergebarrier.api.measure_backdoor import BackdoorReport, measure_backdoor
    from mergebarrier.api.merge import MergeReport, merge
    from mergebarrier.api.merge_jobs import MergeOptions, MergeRequest
    from mergebarrier.api.parents import ParentsReport, provenance_parents
    from mergebarrier.api.protect import ProtectReport, protect
    from mergebarrier.api.provenance import RelateReport, provenance_relate
    from mergebarrier.api.realign import RealignReport, realign
    from mergebarrier.api.report import report
    from mergebarrier.api.scan import ScanReport, scan
    from mergebarrier.api.statement import write_statement
    from mergebarrier.api.unprotect import UnprotectReport, unprotect
    from mergebarrier.api.verify import VerifyReport, verify
    from mergebarrier.api.watermark import (
        ImitationReport,
        RadioactivityReport,
        ShieldReport,
        imitation,
        radioactivity,
        shield,
    )
    from mergebarrier.api.zoo import RowsReport, ZooReport, zoo_assets, zoo_path, zoo_rows
    from mergebarrier.attack import AttackOptions, OffTask
    from mergebarrier.audit import AuditOptions
    from mergebarrier.checkpoint import Checkpoint, open_checkpoint
    from mergebarrier.errors import MergebarrierError
    from mergebarrier.keys import Key
    from mergebarrier.merge import (
        AdaMerging,
        ArceeFusion,
        Breadcrumbs,
        BreadcrumbsTies,
        Concrete,
        Consensus,
        DareLinear,
        DareTies,
        Della,
        DellaLinear,
        Emr,
        Fisher,
        IsoC,
        IsoCts,
        Karcher,
        Knots,
        Linear,
        MagMax,
        ModelStock,
        MultiSlerp,
        NearSwap,
        NuSlerp,
        Passthrough,
        Pcb,
        Ram,
        RamPlus,
        RegMean,
        RegMeanPlus,
        Sce,
        Slerp,
        TaskArithmetic,
        Ties,
        TsvM,
        Wudi,
        WudiExact,
    )
    from mergebarrier.protect import Exact, MergeBarrier
    from mergebarrier.provenance import ParentsOptions, RelateOptions
    from mergebarrier.realign import Aga, GaugeFix
    from mergebarrier.scan import Search

__version__ = "0.1.0"

__all__ = [
    "AdaMerging",
    "Aga",
    "ArceeFusion",
    "AskOptions",
    "AttackOptions",
    "AttackPlan",
    "AttackReport",
    "AuditOptions",
    "AuditReport",
    "BackdoorReport",
    "Breadcrumbs",
    "BreadcrumbsTies",
    "Checkpoint",
    "CleanseReport",
    "CleanseRequest",
    "Concrete",
    "Consensus",
    "DareLinear",
    "DareTies",
    "Della",
    "DellaLinear",
    "DemoReport",
    "Emr",
    "EvaluationReport",
    "Exact",
    "ExtractionReport",
    "FamilyReport",
    "FingerprintReport",
    "Fisher",
    "GaugeFix",
    "HeadOptions",
    "ImageTaskReport",
    "ImitationReport",
    "ImportReport",
    "InspectReport",
    "IsoC",
    "IsoCts",
    "Karcher",
    "Key",
    "Knots",
    "Linear",
    "MagMax",
    "MergeBarrier",
    "MergeOptions",
    "MergeReport",
    "MergeRequest",
    "MergebarrierError",
    "MisleadReport",
    "Model",
    "ModelStock",
    "MultiSlerp",
    "NearSwap",
    "NuSlerp",
    "OffTask",
    "ParentsOptions",
    "ParentsReport",
    "Passthrough",
    "Pcb",
    "ProtectReport",
    "RadioactivityReport",
    "Ram",
    "RamPlus",
    "RealignReport",
    "RecognitionReport",
    "RegMean",
    "RegMeanPlus",
    "RelateOptions",
    "RelateReport",
    "Report",
    "ResultReport",
    "RowsReport",
    "ScanReport",
    "Sce",
    "Search",
    "ShieldReport",
    "Slerp",
    "TaskArithmetic",
    "Ties",
    "TsvM",
    "UnprotectReport",
    "VerifyReport",
    "WriteOptions",
    "Wudi",
    "WudiExact",
    "ZooReport",
    "__version__",
    "attack",
    "audit",
    "check_family",
    "cleanse",
    "demo",
    "evaluate",
    "extract",
    "fingerprint_embed",
    "fingerprint_verify",
    "image_task",
    "imitation",
    "import_gguf",
    "inspect",
    "measure_backdoor",
    "merge",
    "mislead",
    "open_checkpoint",
    "plan_attack",
    "protect",
    "provenance_parents",
    "provenance_relate",
    "radioactivity",
    "realign",
    "report",
    "scan",
    "shield",
    "unprotect",
    "verify",
    "write_statement",
    "zoo_assets",
    "zoo_path",
    "zoo_rows",
]

lazy.open_door(__name__)
