"""The zoo from Python: what it lists, where things lie, and a task from a reader's own pictures."""

from pathlib import Path

import pytest
from PIL import Image

import mergebarrier as mb
from mergebarrier.checkpoint import read_tensor_file
from mergebarrier.errors import AssetMissing, UsageError
from mergebarrier.evaluate import read_image_task


def test_the_list_is_what_json_prints_and_rows(run_cli) -> None:
    report = mb.zoo_assets()
    assert run_cli("zoo", "list", "--json").json == report.to_dict()
    row = next(row for row in report.rows() if row["name"] == "latin")
    assert row["kind"] == "images" and row["needs"]


def test_a_place_is_named_and_an_unknown_one_refused(bench, run_cli, monkeypatch) -> None:
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(bench["latin"].parents[2]))
    report = mb.zoo_path("glyph-base")
    assert report.path == bench["glyph-base"]
    assert run_cli("zoo", "path", "glyph-base", "--json").json == report.to_dict()
    with pytest.raises(AssetMissing):
        mb.zoo_path("no such thing")


def _pictures(folder: Path, classes: tuple[str, ...]) -> Path:
    for i, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for j in range(10):
            Image.new("RGB", (8, 8), (200 * (1 - i) + j, j, 200 * i)).save(folder / name / f"{j}.png")
    return folder


def test_a_task_is_made_from_pictures_and_names(bench, tmp_path, run_cli) -> None:
    names = next(bench["glyph-names"].glob("*.safetensors"))
    with pytest.raises(UsageError, match="head"):
        mb.image_task(tmp_path, tmp_path / "a.task.safetensors", mb.HeadOptions())
    with pytest.raises(UsageError, match=r"\.task\.safetensors"):
        mb.image_task(tmp_path, tmp_path / "a", mb.HeadOptions(names=names, side=8))
    _, about = read_tensor_file(names)
    classes = tuple(sorted(about["names"][:2]))
    folder = _pictures(tmp_path / "pictures", classes)
    made = mb.image_task(folder, tmp_path / "a.task.safetensors", mb.HeadOptions(names=names, side=28))
    assert made.classes == classes and made.train + made.dev + made.test == 20
    assert read_image_task(made.out).classes == classes
    ran = run_cli("zoo", "task", folder, "--names", names, "--side", 28, "-o", made.out, "--overwrite", "--json")
    assert ran.json == made.to_dict()
    plan = run_cli("zoo", "task", folder, "--names", names, "--side", 28, "-o", made.out, "--dry-run", "--json")
    assert plan.json["kind"] == "plan" and plan.json["train"] == made.train
