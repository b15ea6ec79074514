"""``scan`` and ``cleanse`` from Python: the same report as from the command line, findings as rows, a cured folder."""

import json
from pathlib import Path

import pytest

import mergebarrier as mb
from mergebarrier.checkpoint import verify_manifest
from mergebarrier.errors import BadScanInput, LicenceRefused, NotACheckpoint, OutputExists
from mergebarrier.merge import make
from scan_world import World, make_world, write_folder, write_task


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def bench(world: World, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scan")
    write_folder(world.base, root / "base")
    for task in range(2):
        write_task(world, task, root)
    write_folder(world.poisoned["interpolated"], root / "poisoned")
    write_folder(world.experts[1], root / "expert1")
    return root


def _tasks(bench: Path) -> list[Path]:
    return [bench / f"task{task}.task.safetensors" for task in range(2)]


def test_findings_are_a_document_rows_and_sarif(bench, run_cli) -> None:
    models = [bench / "poisoned", bench / "expert1"]
    report = mb.scan(models, base=bench / "base", tasks=_tasks(bench), checks=["folder", "expert_patches"])
    words = [word for task in _tasks(bench) for word in ("--task", task)]
    ran = run_cli("scan", *models, "--base", bench / "base", *words, "--checks", "folder,expert_patches", "--json")
    assert ran.exit_code == 1 and report.failed and ran.json == report.to_dict()
    rows = report.rows()
    assert [(row["rule"], row["model"]) for row in rows] == [(one.rule, one.model) for one in report.findings]
    assert rows[0]["rule"] == "MB7301" and rows[0]["model"] == "poisoned" and rows[0]["cannot_see"]
    assert {name for name in rows[0] if name.startswith("evidence.")}
    frame = report.to_pandas()
    assert frame["rule"].tolist() == [row["rule"] for row in rows] and set(rows[0]) <= set(frame.columns)
    assert json.loads(report.to_sarif())["runs"][0]["results"][0]["ruleId"] == "MB7301"


def test_an_opened_model_is_scanned_under_its_name(bench) -> None:
    with mb.open_checkpoint(bench / "expert1") as expert, mb.open_checkpoint(bench / "base") as base:
        report = mb.scan([expert], base=base)
        assert report.checks_run == ("folder",) and set(report.digests) == {"base", "expert1"}
    assert not report.failed and report.rows() == []


def test_what_cannot_be_scanned_is_refused(bench, tmp_path) -> None:
    with pytest.raises(BadScanInput, match="magic"):
        mb.scan([bench / "expert1"], base=bench / "base", checks=["magic"])
    with pytest.raises(BadScanInput, match="2 task files for 1 models"):
        mb.scan([bench / "expert1"], base=bench / "base", tasks=_tasks(bench))
    with pytest.raises(NotACheckpoint, match="--download"):
        mb.scan(["org/absent"], base=bench / "base")


def _request(bench: Path, *models: Path) -> mb.CleanseRequest:
    merge = make("task_arithmetic", coefficient=0.4)
    return mb.CleanseRequest(models=models, base=bench / "base", tasks=_tasks(bench), merge=merge, cure="drop")


def test_a_cured_merge_is_written_as_any_merge(bench, tmp_path) -> None:
    request = _request(bench, bench / "poisoned", bench / "expert1")
    done = mb.cleanse(request, tmp_path / "cured")
    assert verify_manifest(done.out) == [] and (done.method, done.cure) == ("task_arithmetic", "drop")
    with pytest.raises(OutputExists):
        mb.cleanse(request, tmp_path / "cured")
    again = mb.cleanse(request, tmp_path / "cured", write=mb.WriteOptions(overwrite=True))
    assert again.content_digest == done.content_digest


def test_a_cure_of_what_must_not_be_merged_is_refused(bench, world, tmp_path) -> None:
    card = "---\ntags:\n- do-not-merge\n---\n# A model\n"
    kept = write_folder(world.experts[0], tmp_path / "kept", README_md=card)
    with pytest.raises(LicenceRefused):
        mb.cleanse(_request(bench, kept, bench / "expert1"), tmp_path / "cured")
    assert not (tmp_path / "cured").exists()
