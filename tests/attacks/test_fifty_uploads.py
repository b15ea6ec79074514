"""Fifty uploads of which ten are hostile in ten ways: every one is judged, and what a platform reads is valid."""

import json
import resource
import time
from pathlib import Path

import pytest
from junitparser import JUnitXml
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

import mergebarrier as mb
from hostile_uploads import MORE, TEN, honest, write_uploads

MOST_SECONDS_AN_UPLOAD = 2.0
MOST_KIB_MORE = 64 << 10


@pytest.fixture(scope="module")
def uploads(tmp_path_factory) -> Path:
    return write_uploads(tmp_path_factory.mktemp("platform") / "uploads", 50)


def test_every_upload_is_judged_and_none_stops_another(uploads: Path, monkeypatch) -> None:
    monkeypatch.chdir(uploads.parent)
    mb.scan([uploads / "honest-00"])  # what is imported once is no cost of an upload
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    report = mb.scan(["uploads"], each=True)
    assert time.process_time() - started < MOST_SECONDS_AN_UPLOAD * 50
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KIB_MORE
    assert report.exit_code == 1 and not report.unseen
    failing = {one.model for one in report.failing}
    assert len(failing) == len(TEN) and all(name.startswith("hostile") for name in failing)
    assert {one.model for one in report.findings} == failing
    honest_names = {path.name for path in uploads.iterdir() if path.name.startswith("honest")}
    assert honest_names <= set(report.digests) and len(honest_names) == 40
    # What platforms read of it.
    Sarif.model_validate_json(report.to_sarif())
    run = json.loads(report.to_sarif())["runs"][0]
    assert run["invocations"][0]["executionSuccessful"] and run["invocations"][0]["exitCode"] == 1
    suites = {suite.name: suite for suite in JUnitXml.fromstring(report.to_junit())}
    assert len(suites) == 51 and sum(suite.failures > 0 for suite in suites.values()) == 10
    assert all(suite.errors == 0 for suite in suites.values())


@pytest.mark.parametrize("way", MORE, ids=lambda way: way.__name__)
def test_every_other_way_leaves_a_finding(way, tmp_path: Path) -> None:
    base = honest(tmp_path / "base", 0)
    way(honest(tmp_path / "upload", 1))
    found = mb.scan([tmp_path / "upload"], base=base).findings
    assert found and {one.model for one in found} == {"upload"}
