"""An audit of a trained protection: its twin must merge, it must answer as the expert, and its figures are shown."""

import pytest
import torch
from safetensors.torch import load_file

from audit_stage import SHORT, Memory, spec
from mergebarrier.api import TrainingOptions, protect, protect_by_training
from mergebarrier.audit import run_audit
from mergebarrier.checkpoint import read_manifest
from mergebarrier.keys import Key
from mergebarrier.protect import TRAINED, protection_named
from mergebarrier.report.view import view


@pytest.fixture(scope="module")
def trapped(stage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    options = TrainingOptions(data=stage.world.task, text=stage.world.text)
    method = TRAINED["trap2"](steps=4, check_every=4, budget=60.0)
    protect_by_training(stage.world.original, stage.world.base, folder / "out", method=method, options=options)
    return folder / "out"


def audited(stage, work, trapped, **more):
    return run_audit(spec(stage, work, protected=trapped, settings=SHORT, levels=(0,), points=3, **more), Memory())


def test_twin_override_and_the_owners_figures_stand_in_the_audit(stage, trapped, tmp_path) -> None:
    made = audited(stage, tmp_path / "w", trapped, twin=stage.world.original)
    assert {"answers_alike", "matched_control"} <= made.controls.keys() and "same_function" not in made.controls
    assert made.controls["matched_control"].figure == 1.0 and made.controls["answers_alike"].bound == 0.95
    assert made.method_limit == TRAINED["trap2"].limit and made.method_keyed is False
    shown = {row[0]: row[1:] for row in view(made, []).trained}
    assert all(len(row) == 3 and "not measured" not in row for row in shown.values()) and "loss at scale 0.4" in shown
    assert not [note for note in made.notes if "--twin" in note]
    work = read_manifest(trapped)["content"]["trained"]["work"]
    assert any(f"training, by its manifest: {work['steps']} steps, " in note for note in made.notes)
    assert any("without any merge, by the manifest: " in note for note in made.notes)
    assert all(made.tasks[task].test_distinct == made.tasks[task].test_items for task in made.tasks)


def test_without_a_twin_the_report_says_what_is_not_known(stage, trapped, tmp_path) -> None:
    made = audited(stage, tmp_path / "w", trapped)
    assert "matched_control" not in made.controls and [note for note in made.notes if "--twin" in note]


def test_the_four_layers_one_after_the_other_as_the_page_says(stage, run_cli, tmp_path) -> None:
    """Training, the lock, other shapes where these are asked for, and an audit in which the lock ends at level 2."""
    world, trained, published = stage.world, tmp_path / "trained", tmp_path / "published"
    short = ("--steps", 4, "--check-every", 4, "--budget", 60)
    rows = ("--data", world.task, "--text", world.text)
    train = ("protect", world.original, "--base", world.base, "--method", "layered", *rows, *short, "-o", trained)
    for words in (train, ("protect", trained, "--method", "exact+widen", "-o", tmp_path / "wide"),
                  ("protect", trained, "--method", "exact", "-o", published)):  # fmt: skip
        ran = run_cli(*words)
        assert ran.exit_code == 0, ran.stderr
    wide, locked = (read_manifest(folder)["content"] for folder in (tmp_path / "wide", published))
    assert wide["method"] == "exact+widen" and wide["trained"] == locked["trained"]
    asked = spec(stage, tmp_path / "w", protected=published, settings=SHORT, levels=(0, 1, 2), points=3)
    made = run_audit(asked, Memory())
    ruf = {level.level: level.ruf for level in made.levels}
    assert ruf[0] < 0.5 < 0.9 <= ruf[2]
    assert [note for note in made.notes if "locked by exact afterwards" in note and "from level 2 on" in note]
    assert {row[0] for row in view(made, []).trained}, "what the training reported is shown"
    back = run_cli("unprotect", published, "--key", tmp_path / "published.mbkey", "-o", tmp_path / "back")
    assert back.exit_code == 0, back.stderr
    both = [load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "back")]
    assert both[0].keys() == both[1].keys() and all(torch.allclose(both[0][n], both[1][n], atol=1e-5) for n in both[0])


def test_a_lock_on_top_still_says_what_was_trained(stage, trapped, tmp_path) -> None:
    protect(trapped, tmp_path / "locked", method=protection_named("exact", {}), key=Key(bytes(32)))
    assert read_manifest(tmp_path / "locked")["content"]["trained"] == read_manifest(trapped)["content"]["trained"]
    protect(stage.world.original, tmp_path / "other", method=protection_named("exact", {}), key=Key(bytes(32)))
    assert "trained" not in read_manifest(tmp_path / "other")["content"]
