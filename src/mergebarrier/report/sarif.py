"""The report for a platform's scanner: SARIF 2.1.0 with one rule per statement that an audit or a scan can make.

MB9501 (error)    an attack recovers at least 0.9 of what merging the unprotected model gives
MB9502 (warning)  a control of the audit failed, its figures need care
MB9503 (note)     a level was run and did not recover that much; this claims no more than that
MB9504 (note)     an attack that was run and is not graded

Source: OASIS SARIF 2.1.0.  A model is named by its content digest, never by a path.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from mergebarrier.report.backdoor import page
from mergebarrier.results import BackdoorResult, Control, LevelResult, Result, thresholds

_RULES: Final = {
    "MB9501": ("error", "An attack recovers what merging the unprotected model gives."),
    "MB9502": ("warning", "A control of the audit failed; its figures need care."),
    "MB9503": ("note", "This attack, as implemented, did not recover the merge."),
    "MB9504": ("note", "Measured beside the ladder, and not graded."),
}


def render_sarif(result: Result | BackdoorResult) -> str:
    """Return one SARIF document; every level, every ungraded attack and every failed control is a result."""
    if isinstance(result, BackdoorResult):
        return page.sarif(result)
    findings = [
        _level(result, level, "MB9501" if level.ruf >= thresholds.BROKEN_AT else "MB9503", f"Level {level.level}")
        for level in result.levels
    ]
    findings += [_level(result, level, "MB9504", f"{level.name}, not graded") for level in result.extras]
    findings += [_control(result, name, control) for name, control in result.controls.items() if not control.passed]
    rules = [{"id": rule, "shortDescription": {"text": text}} for rule, (_, text) in _RULES.items()]
    return _document(rules, findings, result.version, {"states": list(result.states)})


def _document(
    rules: Sequence[Mapping[str, object]],
    results: Sequence[Mapping[str, object]],
    version: str,
    properties: Mapping[str, object] | None = None,
) -> str:
    driver = {"name": "mergebarrier", "semanticVersion": version, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "mergebarrier/audit/"},
        "invocations": [{"executionSuccessful": True}],
        "results": results,
        **({"properties": properties} if properties else {}),
    }
    document = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _level(result: Result, level: LevelResult, rule: str, place: str) -> dict[str, object]:
    figures = f"RUF {level.ruf:.2f} [{level.ruf_low:.2f}, {level.ruf_high:.2f}]"
    skills = f"skills {level.best.skill_protected:.2f} / {level.best.skill_partner:.2f} by {level.best.merge}"
    names = {"name": level.name, "attack": level.attack, "needs": level.needs, "state": level.state}
    text = f"{place}, {level.attack}: {figures}, {skills}."
    return _found(result, rule, text, {"ruf": level.ruf, "flops": level.flops, **names})


def _control(result: Result, name: str, control: Control) -> dict[str, object]:
    text = f"{name}: {control.figure:.3g}, must be {control.relation} {control.bound:.3g}. {control.says}"
    return _found(result, "MB9502", text, {"control": name})


def _found(result: Result, rule: str, text: str, properties: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {
        "ruleId": rule,
        "message": {"text": text},
        "properties": properties,
        "level": _RULES[rule][0],
    }
    model = result.models.get("protected")
    if model is None:
        return found
    place = {
        "physicalLocation": {"artifactLocation": {"uri": quote(model.name)}},
        "logicalLocations": [{"name": model.name, "kind": "resource"}],
    }
    # The same in the next version of the model: figures and digests are left out.
    about = "\0".join((rule, model.name, str(properties.get("name", properties.get("control", "")))))
    stays = {"mergebarrierFinding/v1": hashlib.sha256(about.encode()).hexdigest()[:32]}
    digest = {"contentDigest/v1": model.content_digest}
    return found | {"partialFingerprints": stays, "fingerprints": digest, "locations": [place]}
