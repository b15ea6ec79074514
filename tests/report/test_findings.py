"""A scan for machines of others: SARIF held against the published schema, JUnit read by its own library."""

import json
from pathlib import Path

import pytest
from junitparser import JUnitXml
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

import mergebarrier as mb
from mergebarrier.report import render_sarif
from mergebarrier.scan import RULES
from model_folders import small_tensors, write_folder


def checked(text: str) -> dict:
    """Parse a SARIF document and hold it against the schema of OASIS, which refuses unknown keys."""
    Sarif.model_validate_json(text)
    return json.loads(text)["runs"][0]


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three uploads: one with a template, one with odd names, one that is empty."""
    folder = tmp_path / "uploads"
    write_folder(folder / "a", small_tensors())
    (folder / "a" / "chat_template.jinja").write_text("hello\n{{ x.__class__ }}")
    write_folder(folder / "b \x1b[31m", small_tensors())
    (folder / "b \x1b[31m" / "evil \u202e.py").write_text("import os")
    (folder / "c").mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_document_is_what_platforms_show(uploads: Path, run_cli) -> None:
    ran = run_cli("scan", "uploads", "--each", "--format", "sarif")
    run = checked(ran.stdout)
    assert ran.exit_code == 2 and ran.stdout.isascii()
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(RULES)
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"] and invocation["exitCode"] == 2
    assert any("no safetensors weights" in one["message"]["text"] for one in invocation["toolExecutionNotifications"])
    places = {one["ruleId"]: one["locations"][0]["physicalLocation"] for one in run["results"]}
    assert places["MB7109"] == {
        "artifactLocation": {"uri": "uploads/a/chat_template.jinja"},
        "region": {"startLine": 2},
    }
    assert places["MB7108"]["artifactLocation"]["uri"].startswith("uploads/b%20%5Cx1b")
    assert all(run["results"][i]["partialFingerprints"] for i in range(3))


def test_every_rule_has_its_place_in_the_page_that_it_points_to(uploads: Path, run_cli) -> None:
    run = checked(run_cli("scan", "uploads/a", "--format", "sarif").stdout)
    page = (Path(__file__).parents[2] / "docs" / "scan.md").read_text(encoding="utf-8")
    for rule in run["tool"]["driver"]["rules"]:
        assert f'id="{rule["helpUri"].partition("#")[2]}"' in page, rule["id"]


def test_an_alert_survives_a_new_version_of_the_upload(uploads: Path) -> None:
    def alerts() -> set[str]:
        found = checked(mb.scan([uploads / "a"]).to_sarif())["results"]
        return {one["partialFingerprints"]["mergebarrierFinding/v1"] for one in found}

    before = alerts()
    write_folder(uploads / "a2", small_tensors(seed=1))
    (uploads / "a" / "model.safetensors").write_bytes((uploads / "a2" / "model.safetensors").read_bytes())
    (uploads / "a" / "chat_template.jinja").write_text("hello\n\n\nmore {{ x.__class__ }}")
    assert len(before) == 1 and alerts() == before


def test_a_scan_that_could_not_be_made_has_a_document_too(uploads: Path, run_cli) -> None:
    ran = run_cli("scan", "uploads/a", "--base", "uploads/a", "--task", "x", "--task", "y", "--format", "sarif")
    run = checked(ran.stdout)
    assert ran.exit_code == 2 and run["results"] == []
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    assert "2 task files for 1 models" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_junit_of_a_scan_that_could_not_be_made_has_an_error(uploads: Path, run_cli) -> None:
    for words in (("uploads/nowhere",), ("uploads/a", "--checks", "x"), ("uploads/a", "--baseline", "no\x1b\ufffe")):
        ran = run_cli("scan", *words, "--format", "junit")
        (suite,) = [one for one in JUnitXml.fromstring(ran.stdout) if one.name != "checks"]
        assert ran.exit_code in (2, 64) and (suite.tests, suite.errors, suite.failures) == (1, 1, 0), words


def test_known_findings_do_not_fail_and_new_ones_do(uploads: Path, tmp_path: Path, run_cli) -> None:
    words = ("scan", "uploads/a", "--format")
    ran = run_cli(*words, "json")
    assert ran.exit_code == 1
    (tmp_path / "known.json").write_text(ran.stdout)
    ran = run_cli(*words, "sarif", "--baseline", "known.json")
    assert ran.exit_code == 0 and checked(ran.stdout)["results"][0]["suppressions"][0]["kind"] == "external"
    assert "(known)" in run_cli(*words, "text", "--baseline", "known.json").stdout
    (uploads / "a" / "chat_template.json").write_text('{"chat_template": "{{ y.__class__ }}"}')
    assert run_cli(*words, "json", "--baseline", "known.json").exit_code == 1
    (tmp_path / "known.json").write_text("{}")
    ran = run_cli(*words, "json", "--baseline", "known.json")
    assert ran.exit_code == 2 and "known.json" in ran.stderr


def test_a_baseline_never_hides_what_could_not_be_looked_at(uploads: Path, tmp_path: Path, run_cli) -> None:
    ran = run_cli("scan", "uploads", "--each", "--json")
    (tmp_path / "known.json").write_text(ran.stdout)
    assert run_cli("scan", "uploads", "--each", "--json", "--baseline", "known.json").exit_code == 2


def test_junit_has_a_suite_per_upload(uploads: Path, run_cli) -> None:
    ran = run_cli("scan", "uploads", "--each", "--format", "junit", "--fail-on", "medium")
    found = JUnitXml.fromstring(ran.stdout)
    counts = {suite.name: (suite.tests, suite.failures, suite.errors) for suite in found}
    assert counts["a"] == (1, 1, 0) and counts["c"] == (1, 0, 1) and counts["b \\x1b[31m"] == (1, 1, 0)
    assert ran.exit_code == 2 and counts["checks"] == (11, 0, 0)


def test_uploads_are_judged_apart_and_need_no_task(uploads: Path, tmp_path: Path, run_cli) -> None:
    with pytest.raises(mb.errors.BadScanInput, match="one by one"):
        mb.scan([uploads], tasks=["x"], each=True)
    (tmp_path / "empty").mkdir()
    ran = run_cli("scan", "empty", "--each")
    assert ran.exit_code == 2 and "no folder of an upload" in ran.stderr
    report = mb.scan([uploads], each=True)
    assert set(report.digests) == {"a", "b \\x1b[31m"} and not report.outcome.outcome


def test_the_document_of_an_audit_is_valid_too(result) -> None:
    run = checked(render_sarif(result))
    assert run["invocations"][0]["executionSuccessful"] and len(run["results"]) > 2
    alerts = [one["partialFingerprints"]["mergebarrierFinding/v1"] for one in run["results"]]
    assert len(set(alerts)) == len(alerts)
