"""The report for a platform's scanner: SARIF 2.1.0 with one rule per statement that an audit can make against a model.

MB9501 (error)    an attack recovers at least 0.9 of what merging the unprotected model gives
MB9502 (warning)  a control of the audit failed, its figures need care
MB9503 (note)     a level was run and did not recover that much; no more than that is said

Source: OASIS SARIF 2.1.0.  A model is named by its content digest, never by a path.
"""

import json
from typing import Any, Final

from mergebarrier.audit.result import Control, Level, Result

BROKEN_AT: Final = 0.9
_RULES: Final = {
    "MB9501": ("error", "An attack recovers what merging the unprotected model gives."),
    "MB9502": ("warning", "A control of the audit failed; its figures need care."),
    "MB9503": ("note", "This attack, as implemented, did not recover the merge."),
}


def render_sarif(result: Result) -> str:
    """Return one SARIF document; every level and every failed control is a result."""
    findings = [_level(level) for level in result.levels]
    findings += [_control(name, control) for name, control in result.controls.items() if not control.passed]
    model = result.models["protected"]
    for finding in findings:
        finding["level"] = _RULES[finding["ruleId"]][0]
        finding["fingerprints"] = {"contentDigest/v1": model.content_digest}
        finding["locations"] = [{"logicalLocations": [{"name": model.name, "kind": "resource"}]}]
    rules = [{"id": rule, "shortDescription": {"text": text}} for rule, (_, text) in _RULES.items()]
    driver = {"name": "mergebarrier", "semanticVersion": result.version, "rules": rules}
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": findings}],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _level(level: Level) -> dict[str, Any]:
    rule = "MB9501" if level.ruf >= BROKEN_AT else "MB9503"
    figures = f"RUF {level.ruf:.2f} [{level.ruf_low:.2f}, {level.ruf_high:.2f}]"
    skills = f"skills {level.best.skill_protected:.2f} / {level.best.skill_partner:.2f} by {level.best.merge}"
    text = f"Level {level.level}, {level.attack}: {figures}, {skills}."
    return {"ruleId": rule, "message": {"text": text}, "properties": {"ruf": level.ruf, "flops": level.flops}}


def _control(name: str, control: Control) -> dict[str, Any]:
    text = f"{name}: {control.figure:.3g}, must be {control.relation} {control.bound:.3g}. {control.says}"
    return {"ruleId": "MB9502", "message": {"text": text}, "properties": {"control": name}}
