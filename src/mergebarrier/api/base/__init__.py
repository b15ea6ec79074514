"""What the functions of the front door share: reports, the names of models, progress."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.api.base.asked import (
        HEARD,
        AskOptions,
        asked_flags,
        asked_model,
        check_decidable,
        check_suspected,
        finding_of,
        read_evidence,
        said_by,
        verdicts,
    )
    from mergebarrier.api.base.baseline import Baseline, read_baseline
    from mergebarrier.api.base.command_line import Given, command_line
    from mergebarrier.api.base.evidence import EvidenceFinding, ProvenanceEvidence, ProvenanceInput, Said, p_value
    from mergebarrier.api.base.folders import (
        Model,
        WriteOptions,
        as_given,
        in_notebook,
        opened,
        resolve,
        resolve_all,
        shown,
    )
    from mergebarrier.api.base.hub import cache_folder, cached_folder, find_folder
    from mergebarrier.api.base.journals import CountedJournal, MemoryJournal, begun
    from mergebarrier.api.base.machine import machine
    from mergebarrier.api.base.owned import held_key, owned_key
    from mergebarrier.api.base.report import SCHEMA_VERSION, Json, Report, Row, beside, document_of, optional, plain
    from mergebarrier.api.base.result_report import FORMS, ResultReport

__all__ = [
    "FORMS",
    "HEARD",
    "SCHEMA_VERSION",
    "AskOptions",
    "Baseline",
    "CountedJournal",
    "EvidenceFinding",
    "Given",
    "Json",
    "MemoryJournal",
    "Model",
    "ProvenanceEvidence",
    "ProvenanceInput",
    "Report",
    "ResultReport",
    "Row",
    "Said",
    "WriteOptions",
    "as_given",
    "asked_flags",
    "asked_model",
    "begun",
    "beside",
    "cache_folder",
    "cached_folder",
    "check_decidable",
    "check_suspected",
    "command_line",
    "document_of",
    "find_folder",
    "finding_of",
    "held_key",
    "in_notebook",
    "machine",
    "opened",
    "optional",
    "owned_key",
    "p_value",
    "plain",
    "read_baseline",
    "read_evidence",
    "resolve",
    "resolve_all",
    "said_by",
    "shown",
    "verdicts",
]

lazy.open_door(__name__)
