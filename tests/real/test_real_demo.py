"""The demo tells the truth about the real model: naive merging fails, realignment recovers it, the grade says so."""

import json

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_the_whole_story_and_a_second_run_that_measures_nothing(assets, tmp_path, run_cli):
    out = tmp_path / "demo"
    first = run_cli("demo", "-o", out)
    assert first.exit_code == 0 and "Grade C" in first.stdout
    result = json.loads((out / "report" / "result.json").read_text())
    levels = {level["level"]: level for level in result["levels"]}
    assert levels[0]["ruf"] <= 0.1 and levels[1]["ruf"] <= 0.1
    assert levels[2]["ruf"] >= 0.9 and result["ruf_max"] >= 0.9 and result["grade"] == "C"
    assert result["standalone"]["max_rel_logit_error"] <= 5e-6
    assert result["barrier"]["naive"] > 5 and result["barrier"]["realigned"] < 0.5
    assert all(control["passed"] for control in result["controls"].values())
    rows = (out / "report" / "rows.jsonl").read_bytes()
    assert run_cli("demo", "-o", out).exit_code == 0
    assert (out / "report" / "rows.jsonl").read_bytes() == rows
