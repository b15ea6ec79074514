"""The demonstration on the tiny world: it runs by itself, says what happens, and a second run reuses the first."""

import importlib
from typing import Any

import pytest

from mergebarrier import verbs
from mergebarrier.zoo import DemoAssets, TaskPaths


@pytest.fixture
def tiny_zoo(stage, monkeypatch: pytest.MonkeyPatch) -> None:
    world = stage.world
    assets = DemoAssets(
        base=world.base,
        expert_a=world.original,
        expert_b=world.partner,
        task_a=TaskPaths(world.validation, world.validation, world.task),
        task_b=TaskPaths(world.partner_validation, world.partner_validation, world.partner_task),
        text_train=world.text,
        text_test=world.text,
    )

    def demo_assets(progress: Any) -> DemoAssets:
        progress("training expert", 1, 1)
        return assets

    monkeypatch.setattr("mergebarrier.zoo.demo_assets", demo_assets)


def test_the_whole_story_is_told_and_the_second_run_reuses_it(tiny_zoo, run_cli, tmp_path, monkeypatch) -> None:
    out = tmp_path / "demo"
    ran = run_cli("demo", "-o", out)
    assert ran.exit_code == 0, ran.stderr
    for said in ("1. A base", "training expert", "2. The expert", "3. Merge", "unprotected ties 1", "gaugefix of"):
        assert said in ran.stderr, said
    for shown in ("Grade C", "Stock merging recovers", "The best attacker recovers 100 %", "Report: "):
        assert shown in ran.stdout, shown
    assert "mergebarrier, not" in ran.stdout, "the attention-only row is shown as what it is"
    assert (out / "report" / "report.html").is_file() and (out / "protected.mbkey").is_file()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("made again")

    for name in ("protect", "realign"):
        monkeypatch.setattr(verbs, name, refuse)
    monkeypatch.setattr(importlib.import_module("mergebarrier.evaluate"), "load_module", refuse)
    again = run_cli("demo", "-o", out, "--json")
    assert again.exit_code == 0, again.stderr
    assert again.json["grade"] == "C" and "two_keys" in again.json["controls"]
    assert "(test)" not in again.stderr


def test_something_else_in_the_place_of_the_report_is_left_alone(tiny_zoo, run_cli, tmp_path) -> None:
    thesis = tmp_path / "demo" / "report" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    ran = run_cli("demo", "-o", tmp_path / "demo")
    assert ran.exit_code == 2 and "not part of a report" in ran.stderr
    assert thesis.read_text() == "years of work"
