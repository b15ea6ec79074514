"""A whole audit of a real (tiny) model: what breaks, what the attacker recovers, and that nothing is measured twice."""

import dataclasses
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import tiny_world
from audit_stage import SHORT, Memory, spec
from mergebarrier.audit import run_audit
from mergebarrier.errors import BadTask, NotMeasurable
from mergebarrier.evaluate import compute_dtype, exact_match
from mergebarrier.report import Journal
from mergebarrier.results import Cell, Measurement, Result

evaluate = importlib.import_module("mergebarrier.evaluate")


@pytest.fixture(scope="module")
def audited(stage, tmp_path_factory) -> tuple[Result, list[Cell | Measurement], Path]:
    """The full audit of `exact`, with a second key and another protection beside it."""
    folder = tmp_path_factory.mktemp("audit")
    journal = Journal.open(folder)
    made = run_audit(spec(stage, folder / "work", second=stage.second, comparisons=(stage.attention,)), journal)
    return made, journal.used, folder


def test_naive_merging_keeps_half_of_both_skills_nowhere(audited) -> None:
    _, rows, _ = audited
    cells = [row for row in rows if isinstance(row, Cell) and row.state == "protected" and row.split == "test"]
    assert {cell.merge for cell in cells} == {
        "linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "slerp", "smooth",
    }  # fmt: skip
    assert not [cell for cell in cells if min(cell.skill_protected.rate, cell.skill_partner.rate) >= 0.5]


def test_gaugefix_recovers_the_merge_and_the_grade_says_so(audited) -> None:
    result, _, _ = audited
    ruf = {level.level: level.ruf for level in result.levels}
    assert ruf[0] <= 0.1 and ruf[1] <= 0.1 and ruf[2] >= 0.9
    assert (result.grade, result.grade_level, result.grade_final) == ("C", 2, True)
    assert result.ruf_max == max(ruf.values())
    undone = result.levels[2]
    assert undone.tokens == 0 or undone.best.coefficients.keys() == {"protected", "partner"}
    assert undone.recovered is not None and undone.recovered.preserves_function
    # A stock setting breaks it after realignment, so no search is paid for.
    assert undone.breaking is not None and undone.breaking.tokens == 0 and undone.breaking.flops <= undone.flops
    assert [level.breaking for level in result.levels[:2]] == [None, None]


def test_every_control_holds(audited) -> None:
    result, _, _ = audited
    assert result.controls.keys() == {
        "unprotected_merge", "same_function", "identity", "recovered_model_is_whole", "realignment_is_harmless",
        "two_keys",
    }  # fmt: skip
    assert not [name for name, control in result.controls.items() if not control.passed]


def test_the_barrier_is_there_before_realignment_and_gone_after_it(audited) -> None:
    barrier = audited[0].barrier
    assert len(barrier.curve) == len(barrier.curve_realigned) == len(barrier.curve_unprotected) == 11
    assert barrier.naive > 1.0 and barrier.realigned is not None
    assert barrier.realigned < 0.2 * barrier.naive and barrier.unprotected < 0.2 * barrier.naive


def test_the_protected_model_is_still_the_original(audited) -> None:
    alone = audited[0].standalone
    assert alone.max_rel_logit_error < 1e-5 and alone.top1_agreement == 1.0
    assert alone.original.skill == alone.protected.skill == 1.0
    assert alone.bfloat16_floor.kl_nats > 0


def test_the_dtype_of_the_scores_is_named_and_another_one_is_scored_anew(audited, stage, tmp_path) -> None:
    result, rows, _ = audited
    assert result.environment["dtype"] == compute_dtype()
    other = {"float32": "bfloat16", "bfloat16": "float32"}[compute_dtype()]
    memory = Memory()
    found = run_audit(spec(stage, tmp_path / "work", levels=(0,), dtype=other), memory)
    assert found.environment["dtype"] == other
    shared = [row for row in rows if row.row_id in memory.added]
    assert all(isinstance(row, Measurement) and row.about.startswith("outputs of") for row in shared), "names its own"


def test_the_published_attack_and_another_protection_are_shown_and_not_graded(audited) -> None:
    extras = {level.name: level for level in audited[0].extras}
    assert extras.keys() == {"AGA", "mergebarrier"}
    attention = extras["mergebarrier"]
    assert attention.best.coefficients == {"coefficient": 1.0}
    assert attention.ruf >= 0.9, "attention alone does not stop task arithmetic with coefficient 1"
    ceiling = audited[0].levels[0].best_unprotected
    same = attention.best_unprotected.utility >= ceiling.utility or attention.best_unprotected.merge != ceiling.merge
    assert same, "the ceiling is that of the audit: the best unprotected merge, not the one at this setting"


def test_every_state_has_its_own_row_even_where_the_attack_returns_the_original_bit_for_bit(audited) -> None:
    _, rows, _ = audited
    cells = [row for row in rows if isinstance(row, Cell)]
    settings = {
        state: {(cell.merge, *cell.coefficients.items()) for cell in cells if cell.state == state and cell.level != 1}
        for state in ("unprotected", "protected", "gaugefix")
    }
    assert settings["unprotected"] == settings["protected"] <= settings["gaugefix"]
    assert len({row.row_id for row in rows}) == len(rows)


def test_searched_settings_are_chosen_on_validation_rows_only(audited) -> None:
    """The trial of every chosen setting has the best utility (then the least loss) among the trials of its merge."""
    _, rows, _ = audited
    cells = [row for row in rows if isinstance(row, Cell) and "protected" in row.coefficients]
    for state in ("protected", "unprotected", "gaugefix"):
        here = [cell for cell in cells if cell.state == state]
        trials = [cell for cell in here if cell.split == "validation"]
        chosen = [cell for cell in here if cell.split == "test"]
        tuned = {"smooth"} | ({"learn"} if state != "protected" else set())
        assert (
            len(trials) == (6 if state == "protected" else 6 + 5)
            and {cell.merge for cell in chosen} == {cell.merge for cell in trials} | tuned
        )
        chosen = [cell for cell in chosen if cell.merge not in tuned]
        for cell in chosen:
            rivals = {tuple(trial.coefficients.values()): trial for trial in trials if trial.merge == cell.merge}
            mine = rivals[tuple(cell.coefficients.values())]
            assert all(_order(mine) >= _order(rival) for rival in rivals.values())


def _order(cell: Cell) -> tuple[float, float]:
    return min(cell.skill_protected.rate, cell.skill_partner.rate), -(cell.nll_nats or 0.0)


def test_a_finished_row_is_never_measured_again(stage, audited, monkeypatch) -> None:
    result, rows, folder = audited
    spoken: list[str] = []

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    for name in ("exact_match", "perplexity", "compare", "load_module"):
        monkeypatch.setattr(evaluate, name, refuse)
    journal = Journal.open(folder, resume=True)
    again = run_audit(
        spec(stage, folder / "work", second=stage.second, comparisons=(stage.attention,)), journal, say=spoken.append
    )
    assert again == result and journal.used == rows
    assert all(line.startswith("barrier from") for line in spoken)


def test_an_interrupted_audit_goes_on_where_it_stopped(stage, tmp_path, monkeypatch) -> None:
    """Stopped after every few rows, it ends with the rows of an audit that was never stopped."""
    measured = _count(monkeypatch)
    whole = Memory()
    quick = spec(stage, tmp_path / "one", settings=SHORT, search_budget=2, aga_settings=1, points=3)
    straight = run_audit(quick, whole)
    cost, stops, rows = measured(), 0, {}
    other = dataclasses.replace(quick, work=tmp_path / "two")
    other.work.mkdir()
    while True:
        part = Memory(rows)
        left = 9

        def say(line: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        try:
            resumed = run_audit(other, part, say=say)
            break
        except KeyboardInterrupt:
            stops, rows = stops + 1, part.rows
    assert stops >= 3
    assert [_timeless(row) for row in part.used] == [_timeless(row) for row in whole.used]
    assert _timeless(resumed) == _timeless(straight)
    assert measured() == 2 * cost, "rows were measured again after a stop"


def _count(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    calls = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        return exact_match(*arguments, **options)

    monkeypatch.setattr(evaluate, "exact_match", counted)
    return lambda: calls


def _timeless(record: Any) -> Any:
    """The record without anything that a clock decides."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if "seconds" not in key}
        return [strip(item) for item in value] if isinstance(value, list | tuple) else value

    return strip(dataclasses.asdict(record))


def test_attention_alone_earns_a_d(stage, tmp_path) -> None:
    made = run_audit(
        spec(stage, tmp_path / "w", protected=stage.attention, settings=SHORT, levels=(0, 1), points=3), Memory()
    )
    assert (made.grade, made.grade_final, made.method) == ("D", True, "mergebarrier")


def test_levels_that_were_not_run_keep_the_grade_open_and_low(stage, tmp_path) -> None:
    made = run_audit(spec(stage, tmp_path / "w", settings=SHORT, levels=(0,), points=3), Memory())
    assert (made.grade, made.grade_level, made.grade_final) == ("D", None, False)
    assert made.barrier.realigned is None and not made.extras
    two = run_audit(spec(stage, tmp_path / "w", settings=SHORT, levels=(0, 1), search_budget=1, points=3), Memory())
    assert (two.grade, two.grade_level, two.grade_final) == ("C", None, False)


def test_an_unprotected_model_has_ruf_1_at_level_0(stage, tmp_path) -> None:
    """The row of the identity: without a protection, stock merging recovers everything."""
    made = run_audit(
        spec(stage, tmp_path / "w", protected=stage.world.original, settings=SHORT, levels=(0,), points=3), Memory()
    )
    assert made.levels[0].ruf == 1.0 and made.grade == "D" and made.method == "unknown"


def test_another_base_gives_nothing_back(stage, tmp_path) -> None:
    """The layers of the base in reverse: of its shapes and of its sizes, and another model."""
    other, tensors = tmp_path / "other", load_file(stage.world.base / "model.safetensors")
    shutil.copytree(stage.world.base, other)
    turned = {name.replace("layers.0.", "layers.x.").replace("layers.1.", "layers.0."): name for name in tensors}
    save_file({new.replace("layers.x.", "layers.1."): tensors[old] for new, old in turned.items()},
              other / "model.safetensors", {"format": "pt"})  # fmt: skip
    made = run_audit(
        spec(stage, tmp_path / "w", settings=SHORT, levels=(0, 1, 2), points=3, search_budget=1, smooth_evaluations=0,
             aga_settings=0, wrong_base=other), Memory(),
    )  # fmt: skip
    assert made.controls["another_base_fails"].passed and made.levels[2].ruf >= 0.9


def test_without_a_skill_nothing_is_measured(stage, tmp_path) -> None:
    journal = Memory()
    with pytest.raises(NotMeasurable, match="protected expert's task"):
        run_audit(spec(stage, tmp_path / "w", original=stage.world.base, protected=stage.world.base), journal)
    assert all(isinstance(row, Measurement) for row in journal.used), "no merge was made for nothing"


def test_without_a_working_unprotected_merge_nothing_is_attacked(stage, tmp_path) -> None:
    """The protected expert as its own original: the control is broken too, and there is nothing to compare with."""
    journal = Memory()
    with pytest.raises(NotMeasurable, match="positive control"):
        run_audit(spec(stage, tmp_path / "w", original=stage.exact, protected=stage.exact), journal)
    assert not list((tmp_path / "w").iterdir())


def test_validation_rows_may_not_be_test_rows(stage, tmp_path) -> None:
    with pytest.raises(BadTask, match="also in"):
        run_audit(spec(stage, tmp_path / "w", validation=stage.world.task), Memory())


def test_without_validation_files_the_task_is_cut_in_two(stage, tmp_path) -> None:
    only = {"validation": None, "partner_validation": None, "settings": SHORT, "levels": (0,), "points": 3}
    made = run_audit(spec(stage, tmp_path / "w", text=None, **only), Memory())
    assert {(task.test_items, task.validation_items) for task in made.tasks.values()} == {(6, 6)}
    assert any("first half" in note for note in made.notes)
    assert made.standalone.original.perplexity is None and any("plain text" in note for note in made.notes)


def test_the_command_writes_the_report_and_prints_its_contract(stage, tmp_path, run_cli) -> None:
    world, report = stage.world, tmp_path / "report"
    words = [
        "audit", stage.exact, "--original", world.original, "--base", world.base, "--partner", world.partner,
        "--task", world.task, "--partner-task", world.partner_task, "--validation", world.validation,
        "--partner-validation", world.partner_validation, "--merges", "task_arithmetic", "--budget", "1",
        "--smooth", "2", "--edits", "0", "--learn", "1",
        "--text", world.text, "-o", report,
    ]  # fmt: skip
    planned = run_cli(*words, "--dry-run", "--json")
    assert planned.exit_code == 0 and planned.json["cells on test rows"] == 12 and not report.exists()
    ran = run_cli(*words, "--json")
    assert ran.exit_code == 0, ran.stderr
    files = ["card.md", "findings.sarif", "report.html", "result.json", "rows.jsonl"]
    assert sorted(path.name for path in report.iterdir()) == files
    assert ran.json["grade"] == "C" and ran.json["levels"][2]["attack"] == "gaugefix"
    assert "protected task_arithmetic 0.5 (test)" in ran.stderr
    written = json.loads((report / "result.json").read_text())
    assert {key: value for key, value in ran.json.items() if key != "report"} == written
    for private in (str(tmp_path), str(world.base.parent)):
        assert not [path.name for path in report.iterdir() if private in path.read_text()], "a path of this machine"
    assert run_cli(*words).exit_code == 2, "a report is not written over another unasked"
    again = run_cli(*words, "--resume", "--json")
    assert again.exit_code == 0 and "(test)" not in again.stderr
    for form, begins in (("html", "<!doctype html>"), ("md", "## Merge protection"), ("json", "{"), ("text", "exact")):
        shown = run_cli("report", report, "--format", form)
        assert shown.exit_code == 0 and shown.stdout.startswith(begins)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--levels", "0-9"), "there is no level 9"),
        (("--levels", "0-12"), "there is no level 9"),
        (("--levels", "1-2"), "not a range of levels"),
        (("--levels", "x"), "not a range of levels"),
        (("--preset", "2606.99999"), "give one of 2606.30360, 2601.21898, 2503.07661"),
        (("--merges", "tise"), "unknown merge 'tise'"),
        (("--coefficients", "0.5,big"), "not a list of coefficients"),
        (("--merges", "slerp", "--coefficients", "1"), "no setting is left to measure"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(words, says: str, run_cli, tmp_path) -> None:
    given = [word for name in "original base partner task partner-task".split() for word in (f"--{name}", "x")]
    ran = run_cli("audit", "p", *given, "-o", tmp_path / "r", *words)
    assert ran.exit_code == 64 and says in ran.stderr and not (tmp_path / "r").exists()


def test_a_report_of_nothing_is_refused(run_cli, tmp_path) -> None:
    ran = run_cli("report", tmp_path, "--format", "md")
    assert ran.exit_code == 2 and "result.json is missing" in ran.stderr


def test_the_tiny_world_is_the_same_on_every_run(stage, tmp_path) -> None:
    again = tiny_world.make(tmp_path)
    assert again.task.read_bytes() == stage.world.task.read_bytes()
    assert (again.original / "model.safetensors").read_bytes() == (
        stage.world.original / "model.safetensors"
    ).read_bytes()


def test_protections_that_were_joined_state_the_limit_of_each() -> None:
    from mergebarrier.audit.bench import declared_by
    from mergebarrier.protect import PROTECTIONS

    found = declared_by("params+mergelock")
    assert found is not None and found.keyed
    assert all(PROTECTIONS[name].limit in found.limit for name in ("params", "mergelock"))
    assert declared_by("a method of tomorrow") is None
