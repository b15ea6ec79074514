"""Results as plain frozen dataclasses, their JSON, and the thresholds that grade them; a report is a view of these."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.results import thresholds
    from mergebarrier.results.audit import (
        Alone,
        AttackCost,
        Barrier,
        Best,
        Closeness,
        Control,
        Grade,
        LevelResult,
        Line,
        Model,
        OwnersFigure,
        Recovered,
        Reference,
        Result,
        ScaleCurve,
        Standalone,
        State,
        TaskSet,
    )
    from mergebarrier.results.backdoor import (
        Accuracy,
        BackdoorResult,
        Sample,
        Scanned,
        Success,
        TaskSuccess,
        TextSample,
        TextTrigger,
        TriggerShown,
    )
    from mergebarrier.results.read import findings_from_json, result_from_json, row_from_json, to_json
    from mergebarrier.results.rows import Cell, Measurement, Record, Skill, Split
    from mergebarrier.results.scales import Scale, Scales, scales_of

__all__ = [
    "Accuracy",
    "Alone",
    "AttackCost",
    "BackdoorResult",
    "Barrier",
    "Best",
    "Cell",
    "Closeness",
    "Control",
    "Grade",
    "LevelResult",
    "Line",
    "Measurement",
    "Model",
    "OwnersFigure",
    "Record",
    "Recovered",
    "Reference",
    "Result",
    "Sample",
    "Scale",
    "ScaleCurve",
    "Scales",
    "Scanned",
    "Skill",
    "Split",
    "Standalone",
    "State",
    "Success",
    "TaskSet",
    "TaskSuccess",
    "TextSample",
    "TextTrigger",
    "TriggerShown",
    "findings_from_json",
    "result_from_json",
    "row_from_json",
    "scales_of",
    "thresholds",
    "to_json",
]

lazy.open_door(__name__)
