"""The front door: a plain function per verb, over names of models, that returns a typed report.

Each file opens what it is given, calls the rooms below and says what came out; the command line parses, calls this and
prints.  ``import mergebarrier`` offers these functions.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.api.attack import (
        AttackPlan,
        AttackReport,
        HijackReport,
        attack,
        attack_hijack,
        plan_attack,
        plan_hijack,
    )
    from mergebarrier.api.audit import AuditPlan, audit, plan_audit, plan_work
    from mergebarrier.api.audited import AuditReport, WorkerReport, WorkReport, worker
    from mergebarrier.api.base import FORMS, AskOptions, Model, ProvenanceInput, Report, ResultReport, WriteOptions
    from mergebarrier.api.cleanse import CleanseReport, CleanseRequest, check_cleanse, cleanse
    from mergebarrier.api.compare import COMPARISON_FORMS, ComparisonReport, compare_reports
    from mergebarrier.api.demo import DemoModels, DemoPlan, DemoReport, demo, demo_models, plan_demo
    from mergebarrier.api.evaluate import EvaluationReport, evaluate
    from mergebarrier.api.extract import ExtractionReport, MisleadPlan, MisleadReport, extract, mislead, plan_mislead
    from mergebarrier.api.family import FamilyReport, check_family
    from mergebarrier.api.files import ImportReport, import_gguf, plan_import_gguf
    from mergebarrier.api.fingerprint import (
        FingerprintPlan,
        FingerprintReport,
        RecognitionReport,
        fingerprint_embed,
        fingerprint_verify,
        plan_fingerprint,
    )
    from mergebarrier.api.image_task import HeadOptions, ImageTaskReport, image_task
    from mergebarrier.api.inspect import InspectReport, inspect
    from mergebarrier.api.measure_backdoor import BackdoorReport, TheftReport, measure_backdoor, measure_theft
    from mergebarrier.api.merge import (
        MergeExplanation,
        MergePlanReport,
        MergeReport,
        explain_merge,
        merge,
        plan_merge,
        run_merge,
    )
    from mergebarrier.api.merge_jobs import MergeOptions, MergeRequest
    from mergebarrier.api.parents import ParentsReport, provenance_parents
    from mergebarrier.api.protect import (
        ProtectPlan,
        ProtectReport,
        plan_protect,
        protect,
    )
    from mergebarrier.api.provenance import RelateReport, provenance_relate
    from mergebarrier.api.realign import RealignPlan, RealignReport, plan_realign, realign
    from mergebarrier.api.report import report
    from mergebarrier.api.sbom import bill_of_materials
    from mergebarrier.api.scan import DEFAULT_CHECKS, ScanReport, failure_to_junit, failure_to_sarif, scan
    from mergebarrier.api.signature import check_signing, not_covered, sign, verify_signature
    from mergebarrier.api.statement import Statement, check_page, statement_of, write_statement
    from mergebarrier.api.trained import TrainingOptions, TrainingPlan, plan_training, protect_by_training
    from mergebarrier.api.unprotect import UnprotectPlan, UnprotectReport, plan_unprotect, unprotect
    from mergebarrier.api.verify import VerifyReport, verify
    from mergebarrier.api.watermark import (
        ImitationReport,
        RadioactivityReport,
        ShieldReport,
        imitation,
        radioactivity,
        shield,
    )
    from mergebarrier.api.zoo import RowsReport, ZooPathReport, ZooReport, zoo_assets, zoo_path, zoo_rows

__all__ = [
    "COMPARISON_FORMS",
    "DEFAULT_CHECKS",
    "FORMS",
    "AskOptions",
    "AttackPlan",
    "AttackReport",
    "AuditPlan",
    "AuditReport",
    "BackdoorReport",
    "CleanseReport",
    "CleanseRequest",
    "ComparisonReport",
    "DemoModels",
    "DemoPlan",
    "DemoReport",
    "EvaluationReport",
    "ExtractionReport",
    "FamilyReport",
    "FingerprintPlan",
    "FingerprintReport",
    "HeadOptions",
    "HijackReport",
    "ImageTaskReport",
    "ImitationReport",
    "ImportReport",
    "InspectReport",
    "MergeExplanation",
    "MergeOptions",
    "MergePlanReport",
    "MergeReport",
    "MergeRequest",
    "MisleadPlan",
    "MisleadReport",
    "Model",
    "ParentsReport",
    "ProtectPlan",
    "ProtectReport",
    "ProvenanceInput",
    "RadioactivityReport",
    "RealignPlan",
    "RealignReport",
    "RecognitionReport",
    "RelateReport",
    "Report",
    "ResultReport",
    "RowsReport",
    "ScanReport",
    "ShieldReport",
    "Statement",
    "TheftReport",
    "TrainingOptions",
    "TrainingPlan",
    "UnprotectPlan",
    "UnprotectReport",
    "VerifyReport",
    "WorkReport",
    "WorkerReport",
    "WriteOptions",
    "ZooPathReport",
    "ZooReport",
    "attack",
    "attack_hijack",
    "audit",
    "bill_of_materials",
    "check_cleanse",
    "check_family",
    "check_page",
    "check_signing",
    "cleanse",
    "compare_reports",
    "demo",
    "demo_models",
    "evaluate",
    "explain_merge",
    "extract",
    "failure_to_junit",
    "failure_to_sarif",
    "fingerprint_embed",
    "fingerprint_verify",
    "image_task",
    "imitation",
    "import_gguf",
    "inspect",
    "measure_backdoor",
    "measure_theft",
    "merge",
    "mislead",
    "not_covered",
    "plan_attack",
    "plan_audit",
    "plan_demo",
    "plan_fingerprint",
    "plan_hijack",
    "plan_import_gguf",
    "plan_merge",
    "plan_mislead",
    "plan_protect",
    "plan_realign",
    "plan_training",
    "plan_unprotect",
    "plan_work",
    "protect",
    "protect_by_training",
    "provenance_parents",
    "provenance_relate",
    "radioactivity",
    "realign",
    "report",
    "run_merge",
    "scan",
    "shield",
    "sign",
    "statement_of",
    "unprotect",
    "verify",
    "verify_signature",
    "worker",
    "write_statement",
    "zoo_assets",
    "zoo_path",
    "zoo_rows",
]

lazy.open_door(__name__)
