"""The findings of a scan for machines of others: SARIF 2.1.0 for code scanning, JUnit for whatever runs tests.

critical, high -> error       medium -> warning       low, info -> note
a finding at or above the limit -> failure   what could not be looked at -> error   a check that did not run -> skipped

An alert keeps its identity over versions of an upload (``partialFingerprints``: rule, model, file); the content digest
stands beside it.  A run that failed has a document too, which says so.

Source: OASIS SARIF 2.1.0 and its subset that GitHub shows; the JUnit schema of Jenkins.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote
from xml.etree import ElementTree

from mergebarrier.errors import clean

_LEVELS: Final = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}
#: How grave a rule is on the scale of 10 that code scanning sorts by.
_SCORES: Final = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "3.0", "info": "0.5"}
_DOCS: Final = "https://github.com/mergebarrier/mergebarrier/blob/main/docs/scan.md"
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


class _Rule(Protocol):
    @property
    def title(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def cannot_see(self) -> str: ...


class _Finding(Protocol):
    @property
    def rule(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def value(self) -> float | None: ...
    @property
    def threshold(self) -> float | None: ...
    @property
    def pool_median(self) -> float | None: ...
    @property
    def evidence(self) -> Mapping[str, str | float | None]: ...
    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int | None: ...
    @property
    def offset(self) -> int | None: ...
    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class ScanView:
    """What is shown of a scan.

    Args:
      findings:  of the scan, in the order of the output.
      rules:     rule id -> title, severity and blind spots; all are listed, hit or not.
      version:   of this package.
      places:    model name -> its folder, relative to where the scan ran.
      digests:   model name -> content digest; a refused model has none.
      ran:       names of the checks that ran.
      left_out:  check -> why it did not run.
      known:     fingerprints of the baseline.
      failing:   fingerprints of the findings for which the scan fails.
      unseen:    id of the rule for what could not be looked at.
      exit_code: of the command.
    """

    findings: Sequence[_Finding]
    rules: Mapping[str, _Rule]
    version: str
    places: Mapping[str, str]
    digests: Mapping[str, str]
    ran: Sequence[str]
    left_out: Mapping[str, str]
    known: frozenset[str]
    failing: frozenset[str]
    unseen: str
    exit_code: int


def render_findings(scanned: ScanView) -> str:
    """Return the SARIF document of a scan."""
    results = [_result(found, scanned) for found in scanned.findings]
    lost = [_notification(found.message, "error") for found in scanned.findings if found.rule == scanned.unseen]
    skipped = [_notification(f"{name} did not run: {why}", "note") for name, why in scanned.left_out.items()]
    invocation = {
        "executionSuccessful": not lost,
        "exitCode": scanned.exit_code,
        "toolExecutionNotifications": [*lost, *skipped],
    }
    return _document(scanned.rules, scanned.version, results, invocation, {"checks": list(scanned.ran)})


def render_failure(message: str, exit_code: int, *, rules: Mapping[str, _Rule], version: str) -> str:
    """Return the SARIF document of a scan that could not be made, which says why."""
    invocation = {
        "executionSuccessful": False,
        "exitCode": exit_code,
        "toolExecutionNotifications": [_notification(message, "error")],
    }
    return _document(rules, version, [], invocation, {"checks": []})


def _notification(message: str, level: str) -> dict[str, object]:
    return {"level": level, "message": {"text": message}}


def _result(found: _Finding, scanned: ScanView) -> dict[str, object]:
    figures = {"value": found.value, "threshold": found.threshold, "pool_median": found.pool_median}
    numbers = {name: _finite(value) for name, value in {**figures, **found.evidence}.items()}
    folder = scanned.places.get(found.model, ".")
    place: dict[str, object] = {"artifactLocation": {"uri": quote(f"{folder}/{found.file}" if found.file else folder)}}
    if found.line is not None:
        place["region"] = {"startLine": found.line}
    elif found.offset is not None:
        place["region"] = {"byteOffset": found.offset}
    logical = [{"name": found.model, "kind": "resource"}]
    result: dict[str, object] = {
        "ruleId": found.rule,
        "ruleIndex": list(scanned.rules).index(found.rule),
        "level": _LEVELS[found.severity],
        "message": {"text": f"{found.model}: {found.message}"},
        "locations": [{"physicalLocation": place, "logicalLocations": logical}],
        "partialFingerprints": {"mergebarrierFinding/v1": found.fingerprint},
        "properties": {"severity": found.severity, **numbers},
    }
    if found.model in scanned.digests:
        result["fingerprints"] = {"contentDigest/v1": scanned.digests[found.model]}
    if found.fingerprint in scanned.known:
        result["suppressions"] = [{"kind": "external", "justification": "listed in the baseline"}]
    return result


def _finite(value: str | float | None) -> str | float | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _document(
    rules: Mapping[str, _Rule],
    version: str,
    results: Sequence[Mapping[str, object]],
    invocation: Mapping[str, object],
    properties: Mapping[str, object],
) -> str:
    listed = [
        {
            "id": rule,
            "shortDescription": {"text": about.title},
            "fullDescription": {"text": f"{about.title} This check cannot see {about.cannot_see}."},
            "help": {"text": f"This check cannot see {about.cannot_see}."},
            "helpUri": f"{_DOCS}#{rule.lower()}",
            "defaultConfiguration": {"level": _LEVELS[about.severity]},
            "properties": {"tags": ["security", "model"], "security-severity": _SCORES[about.severity]},
        }
        for rule, about in rules.items()
    ]
    driver = {
        "name": "mergebarrier",
        "semanticVersion": version,
        "informationUri": "https://github.com/mergebarrier/mergebarrier",
        "rules": listed,
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "mergebarrier/scan/"},
        "invocations": [invocation],
        "results": results,
        "properties": properties,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, allow_nan=False) + "\n"


def render_junit(scanned: ScanView) -> str:
    """Return the scan as JUnit XML: a suite per model, a case per finding, one case where a model has none."""
    root = ElementTree.Element("testsuites", name="mergebarrier scan")
    models = [*scanned.places, *(found.model for found in scanned.findings)]
    for model in dict.fromkeys(models):
        suite = ElementTree.SubElement(root, "testsuite", name=model)
        counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
        for found in (one for one in scanned.findings if one.model == model):
            counts["tests"] += 1
            case = _case(suite, model, f"{found.rule} {found.file}".strip())
            kind = "error" if found.rule == scanned.unseen else "failure"
            if kind == "error" or found.fingerprint in scanned.failing:
                counts[f"{kind}s"] += 1
                ElementTree.SubElement(case, kind, message=_legal(found.message), type=found.severity)
            else:
                ElementTree.SubElement(case, "system-out").text = _legal(f"{found.severity}: {found.message}")
        if not counts["tests"]:
            counts["tests"] = 1
            _case(suite, model, f"no finding by checks {', '.join(scanned.ran)}")
        for name, number in counts.items():
            suite.set(name, str(number))
    skipped = str(len(scanned.left_out))
    suite = ElementTree.SubElement(root, "testsuite", name="checks", tests=skipped, skipped=skipped)
    for name, why in scanned.left_out.items():
        ElementTree.SubElement(_case(suite, "checks", name), "skipped", message=_legal(why))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def render_junit_failure(message: str, kind: str) -> str:
    """Return the JUnit document of a scan that could not be made: one case, with an error that says why."""
    root = ElementTree.Element("testsuites", name="mergebarrier scan")
    suite = ElementTree.SubElement(root, "testsuite", name="scan", tests="1", failures="0", errors="1", skipped="0")
    ElementTree.SubElement(_case(suite, "scan", "could be made"), "error", message=_legal(message), type=_legal(kind))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _case(suite: ElementTree.Element, model: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=model, name=_legal(name), time="0")


def _legal(text: str) -> str:
    """Return text that XML may hold: control characters are escaped."""
    return clean(text, longest=2000)
