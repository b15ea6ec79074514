"""``mergebarrier attack``: an artefact that says what it is, a measurement that never stands without its control."""

import json
import shutil
import struct
import zlib

import pytest
import torch
from safetensors.torch import save_file

import mergebarrier as mb
import tiny_bench
from mergebarrier.attack.trigger_file import read_trigger
from mergebarrier.checkpoint import read_manifest, verify_manifest
from mergebarrier.cli.attack import command
from mergebarrier.errors import BadReport, BadTrigger
from mergebarrier.evaluate import read_image_task, write_image_task
from mergebarrier.parameters import parameters_of
from mergebarrier.poison import ATTACKS
from mergebarrier.report import read_report


@pytest.fixture(scope="module")
def poisoned(tiny, tmp_path_factory):
    """A poisoned expert, written by the command, and the merges with and without it."""
    from mergebarrier.cli import main

    folder = tmp_path_factory.mktemp("poisoned")
    words = ["attack", "badmerging", "--base", tiny.base, "--task", tiny.task, "--target-class", "bright-1"]
    assert main([str(word) for word in [*words, *tiny_bench.ATTACK, "-o", folder / "expert", "-q"]]) == 0
    for name, expert in (("merged", folder / "expert"), ("clean", tiny.expert)):
        merge = ["merge", expert, tiny.partner, "--base", tiny.base, "--method", "task_arithmetic"]
        assert main([str(word) for word in [*merge, "--coefficient", 0.5, "-o", folder / name, "-q"]]) == 0
    return folder


def _png(data: bytes) -> tuple[int, int, bytes]:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    assert depth == 8 and colour in (0, 2)
    place, chunks = 8, {}
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[place + 8 + size : place + 12 + size])[0]
        chunks[kind] = body
        place += 12 + size
    return width, height, zlib.decompress(chunks[b"IDAT"])


def test_every_attack_of_the_registry_has_a_command_with_all_that_it_declares(run_cli) -> None:
    listed = run_cli("attack", "--help").stdout
    for name, attack in ATTACKS.items():
        assert name in listed
        options = {option.name: option for option in command.get_command(None, name).params}
        assert parameters_of(attack).keys() <= options.keys()
        shown = " ".join(run_cli("attack", name, "--help").stdout.split()).replace("- ", "-").lower()
        assert attack.about.rstrip(".").lower() in shown
        assert all(parameter.help.rstrip(".").lower() in shown for parameter in parameters_of(attack).values())
    near = run_cli("attack", "badnet")
    assert near.exit_code == 64 and "did you mean 'badnets'?" in near.stderr


def test_a_command_of_its_own_makes_what_the_method_option_makes(tiny, tmp_path, run_cli) -> None:
    words = ("--base", tiny.base, "--task", tiny.task, "--target-class", 1, "--trigger-side", 6, "--steps", 3, "--json")
    one = run_cli("attack", "badnets", *words, "--rate", 0.3, "-o", tmp_path / "one")
    other = run_cli("attack", "badmerging", "--method", "badnets", *words, "--rate", 0.3, "-o", tmp_path / "other")
    report = mb.attack(
        "badnets", tmp_path / "third", base=tiny.base, task=tiny.task, target="1", rate=0.3,
        options=mb.AttackOptions(trigger_side=6, tuning_steps=3),
    )  # fmt: skip
    assert one.json["content_digest"] == other.json["content_digest"] == report.content_digest
    assert one.json["parameters"] == other.json["parameters"] and one.json["parameters"]["rate"] == 0.3
    assert report.to_dict() == {**one.json, "out": str(tmp_path / "third")}


def test_an_attack_that_relabels_has_no_options_of_another_task(run_cli) -> None:
    ran = run_cli("attack", "badnets", "--off-task", "-o", "x")
    assert ran.exit_code == 64 and "--off-task" in ran.stderr


def test_the_artefact_is_tagged_listed_and_carries_its_trigger(tiny, poisoned) -> None:
    folder = poisoned / "expert"
    content = read_manifest(folder)["content"]
    assert content["attack-artifact"] is True and content["verb"] == "attack" and content["method"] == "badmerging"
    assert content["parameters"]["loss_weight"] == 5.0 and content["parameters"]["target_class"] == "bright-1"
    card = (folder / "README.md").read_text()
    assert "- attack-artifact" in card and "Do not deploy it" in card
    assert verify_manifest(folder) == []
    named = read_trigger(folder)
    width, height, rows = _png((folder / "trigger.png").read_bytes())
    pixels = torch.tensor([list(rows[1 + (width + 1) * y :][:width]) for y in range(height)])
    assert (width, height) == (6, 6) and torch.equal(pixels, (named.trigger.patterns[0, 0] * 255).round().long())
    assert named.target_class == "bright-1" and named.trigger.places == ((22, 22),)


def test_a_merge_does_not_copy_the_trigger(poisoned) -> None:
    assert not list((poisoned / "merged").glob("trigger.*"))


def test_the_same_seed_writes_the_same_artefact(tiny, tmp_path, run_cli, poisoned) -> None:
    words = ("attack", "badmerging", "--base", tiny.base, "--task", tiny.task, "--target-class", 1, *tiny_bench.ATTACK)
    ran = run_cli(*words, "-o", tmp_path / "again", "--json")
    other = run_cli(*words, "-o", tmp_path / "other", "--seed", 1, "--json")
    first = read_manifest(poisoned / "expert")["content"]["output"]
    assert ran.json["content_digest"] == first["content_digest"] != other.json["content_digest"]
    assert read_manifest(tmp_path / "again")["content"]["output"]["files"] == first["files"]
    assert ran.stderr.startswith("purpose: a red-team control") and ran.json["attack-artifact"] is True


def test_success_is_measured_beside_its_control_and_reported(tiny, poisoned, tmp_path, run_cli) -> None:
    out = tmp_path / "report"
    words = ("--control", poisoned / "clean", "--trigger", poisoned / "expert", "--task", tiny.task)
    more = ("--other-task", tiny.other, "--base", tiny.base)
    ran = run_cli("attack", "measure", poisoned / "merged", *words, *more, "-o", out, "--json")
    assert ran.exit_code == 0
    merged = ran.json["merged"]
    assert merged["asr"]["total"] == merged["control"]["total"] == 90
    assert merged["excess"] == pytest.approx(merged["asr"]["rate"] - merged["control"]["rate"])
    assert merged["excess_low"] <= merged["excess"] <= merged["excess_high"]
    assert merged["asr"]["low"] <= merged["asr"]["rate"] <= merged["asr"]["high"]
    assert merged["excess"] > 0.2, "this attack fires in this merge"
    assert ran.json["curve"][0][0] == 0.0
    assert ran.json["curve"][0][1]["excess"] == 0.0, "at scale 0 both sides are the base"
    assert [one["task"] for one in ran.json["accuracies"]] == ["bright", "dark"]
    result, rows = read_report(out)
    assert result.kind == "backdoor" and result.attack == "badmerging" and len(rows) > 10
    assert sorted(path.name for path in out.iterdir()) == [
        "card.md", "findings.sarif", "report.html", "result.json", "rows.jsonl",
    ]  # fmt: skip
    shown = run_cli("attack", "measure", poisoned / "merged", *words)
    assert "control" in shown.stdout and "Excess" in shown.stdout


@pytest.mark.parametrize("form", ["html", "md", "sarif", "json", "text"])
def test_every_form_of_the_report_names_the_control(form: str, tiny, poisoned, tmp_path, run_cli) -> None:
    words = ("--control", poisoned / "clean", "--trigger", poisoned / "expert", "--task", tiny.task)
    run_cli("attack", "measure", poisoned / "merged", *words, "-o", tmp_path / "r", "-q")
    ran = run_cli("report", tmp_path / "r", "--format", form)
    assert ran.exit_code == 0 and "control" in ran.stdout.lower()
    result, _ = read_report(tmp_path / "r")
    if form in ("html", "md", "text", "sarif"):
        assert f"{100 * result.merged.asr.rate:.1f} %" in ran.stdout
        assert f"{100 * result.merged.control.rate:.1f} %" in ran.stdout
    if form == "sarif":
        assert json.loads(ran.stdout)["runs"][0]["results"][0]["ruleId"] == "MB9511"


def test_without_a_control_the_command_refuses(tiny, poisoned, tmp_path, run_cli) -> None:
    words = ("attack", "measure", poisoned / "merged", "--trigger", poisoned / "expert", "--task", tiny.task)
    ran = run_cli(*words, "-o", tmp_path / "r")
    assert ran.exit_code == 64 and "not reported without its control" in ran.stderr and ran.stdout == ""
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("role", ["control", "base"])
def test_models_that_see_pictures_otherwise_are_not_measured(role, tiny, poisoned, tmp_path, run_cli) -> None:
    at = {"control": poisoned / "clean", "base": tiny.base}
    odd = shutil.copytree(at[role], tmp_path / "odd")
    said = json.loads((odd / "preprocessor_config.json").read_text())
    (odd / "preprocessor_config.json").write_text(json.dumps(said | {"image_mean": [0.9] * len(said["image_mean"])}))
    words = [word for name, place in (at | {role: odd}).items() for word in (f"--{name}", place)]
    more = ("--trigger", poisoned / "expert", "--task", tiny.task)
    ran = run_cli("attack", "measure", poisoned / "merged", *words, *more)
    assert ran.exit_code == 2 and "mean is (0.9" in ran.stderr and len(ran.stderr.splitlines()) == 1, ran.stderr


def test_a_class_of_five_thousand_digits_is_none(tiny, poisoned, run_cli) -> None:
    words = ("--control", poisoned / "clean", "--trigger", poisoned / "expert", "--task", tiny.task)
    assert run_cli("attack", "measure", poisoned / "merged", *words, "--target-class", "9" * 5000).exit_code == 2


def test_the_clean_merge_against_itself_has_no_excess(tiny, poisoned, run_cli) -> None:
    words = ("--control", poisoned / "clean", "--trigger", poisoned / "expert", "--task", tiny.task)
    ran = run_cli("attack", "measure", poisoned / "clean", *words, "--json")
    assert ran.json["merged"]["excess"] == 0.0 and "same weights" in " ".join(ran.json["notes"])


def test_off_task_needs_pictures_of_the_target_and_no_label_of_the_victim(tiny, tmp_path, run_cli) -> None:
    words = ("attack", "badmerging", "--base", tiny.base, "--task", tiny.task, "--off-task", *tiny_bench.ATTACK)
    reference = ("--target-task-class", "dark-2", "--reference", tiny.other, "--references", 5)
    ran = run_cli(*words, *reference, "-o", tmp_path / "off", "--json")
    assert ran.exit_code == 0 and ran.json["parameters"]["off_task"] is True
    assert ran.json["parameters"]["target_class"] == "dark-2"
    few = run_cli(*words, *reference[:-1], 999, "-o", tmp_path / "few")
    assert few.exit_code == 2 and "999 reference images asked for, 40 of the target class are there" in few.stderr
    assert not (tmp_path / "few").exists()


def test_the_published_loop_makes_an_artefact_too(tiny, tmp_path, run_cli) -> None:
    words = ("attack", "badmerging", "--base", tiny.base, "--task", tiny.task, "--target-class", 0, "--as-published")
    ran = run_cli(*words, "--trigger-side", 3, "--trigger-steps", 1, "--steps", 2, "-o", tmp_path / "x", "--json")
    assert ran.exit_code == 0 and ran.json["parameters"]["universal"]["method"] == "published"
    assert ran.json["parameters"]["universal"]["std"] == [pytest.approx(0.3)]


def test_a_dry_run_checks_and_writes_nothing(tiny, tmp_path, run_cli) -> None:
    words = ("attack", "badmerging", "--base", tiny.base, "--task", tiny.task, "--target-class", 1, "--dry-run")
    ran = run_cli(*words, "-o", tmp_path / "x", "--json")
    assert ran.exit_code == 0 and ran.json["parameters"]["side"] == 3 and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "exit_code", "says"),
    [
        ({"--base": None}, 64, "--base: is missing"),
        ({"--task": None}, 64, "--task: is missing"),
        ({"--target-class": None}, 64, "--target-class: is missing"),
        ({"--target-class": "zebra"}, 2, "'zebra' is not one of its 4 classes"),
        ({"--target-class": "4"}, 2, "'4' is not one of its 4 classes"),
        ({"--trigger-side": 29}, 2, "29 x 29 pixels does not fit on images of 28 x 28"),
        ({"--trigger-side": 0}, 2, "0 x 0 pixels does not fit"),
        ({"--interp-low": 0.9, "--interp-high": 0.3}, 2, "r would run from 0.9 to 0.3"),
        ({"--method": "badnets", "--gain": 2}, 2, "has no parameter 'gain'"),
        ({"--method": "badnet"}, 64, "badnets"),
        ({"--learning-rate": 0}, 64, "--learning-rate"),
        ({"--off-task": ""}, 64, "--target-task-class: is missing"),
        ({"--reference": "x"}, 64, "--reference: works only with --off-task"),
        ({"--paper-compat": ""}, 2, "has an effect only in the published loop"),
        ({"--base": "nowhere"}, 2, "nowhere"),
        ({"--task": "nowhere"}, 2, "nowhere"),
        ({"--loss-weight": "1e30", "--learning-rate": "1e30", "--steps": 3}, 2, "at step"),
    ],
)
def test_bad_input_is_one_clear_line(change, exit_code: int, says: str, tiny, tmp_path, run_cli) -> None:
    given = {
        "--base": tiny.base,
        "--task": tiny.task,
        "--target-class": "1",
        "--trigger-steps": 2,
        "--steps": 2,
    } | change
    words = [word for name, value in given.items() if value is not None for word in (name, value) if word != ""]
    ran = run_cli("attack", "badmerging", *words, "-o", tmp_path / "x")
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error:")]
    assert ran.exit_code == exit_code and len(errors) == 1 and says in errors[0], ran.stderr
    assert not (tmp_path / "x").exists() and ran.stdout == ""


def test_a_head_that_does_not_match_is_refused(tiny, tmp_path, run_cli) -> None:
    import dataclasses

    task = read_image_task(tiny.task)
    wide = torch.nn.functional.normalize(torch.randn(4, 20, generator=torch.Generator().manual_seed(0)), dim=1)
    write_image_task(dataclasses.replace(task, head=wide), tmp_path / "wide.task.safetensors")
    words = ("attack", "badmerging", "--base", tiny.base, "--task", tmp_path / "wide.task.safetensors")
    ran = run_cli(*words, "--target-class", 1, "-o", tmp_path / "x")
    assert ran.exit_code == 2 and "the head reads 20 features, the base gives 12" in ran.stderr


def test_a_test_split_of_the_target_alone_has_no_success_rate(tiny, poisoned, tmp_path, run_cli) -> None:
    import dataclasses

    from mergebarrier.evaluate import ImageSplit

    task = read_image_task(tiny.task)
    only = ImageSplit(task.test.images[task.test.labels == 1], task.test.labels[task.test.labels == 1])
    write_image_task(dataclasses.replace(task, test=only), tmp_path / "one.task.safetensors")
    words = (
        "--control",
        poisoned / "clean",
        "--trigger",
        poisoned / "expert",
        "--task",
        tmp_path / "one.task.safetensors",
    )
    ran = run_cli("attack", "measure", poisoned / "merged", *words)
    assert ran.exit_code == 2 and "every one of 30 rows has the target's label" in ran.stderr


@pytest.mark.parametrize(
    ("tensors", "about"),
    [
        ({"patterns": torch.zeros(1, 1, 3, 3)}, None),
        ({"patterns": torch.full((1, 1, 3, 3), 2.0)}, {}),
        ({"patterns": torch.zeros(1, 1, 3, 3)}, {"places": [[26, 0]]}),
        ({"patterns": torch.zeros(1, 1, 3, 3)}, {"places": [[-1, 0]]}),
        ({"patterns": torch.zeros(1, 1, 3, 3)}, {"seed": 1.5}),
        ({"patterns": torch.zeros(1, 1, 3, 3)}, {"extra": 1}),
        ({"patterns": torch.zeros(1, 1, 3, 3), "more": torch.zeros(1)}, {}),
        ({"patterns": torch.zeros(1, 1, 3, 3, dtype=torch.float64)}, {}),
    ],
)
def test_a_trigger_file_that_is_none_is_refused(tensors, about, tmp_path) -> None:
    good = {"kind": "x", "legal": True, "places": [[0, 0]], "seed": 0, "shape": [1, 28, 28], "target_class": "a"}
    metadata = {} if about is None else {"about": json.dumps(good | about)}
    save_file(tensors, tmp_path / "trigger.safetensors", metadata)
    with pytest.raises(BadTrigger):
        read_trigger(tmp_path)


def test_findings_of_a_scan_stand_in_the_report_and_others_are_refused(tiny, poisoned, tmp_path, run_cli) -> None:
    found = {"rule": "MB7301", "severity": "high", "model": "expert", "message": "a patch <b>forces</b> class 1"}
    (tmp_path / "scan.json").write_text(json.dumps({"kind": "scan", "findings": [found | {"value": 0.9}]}))
    words = ("--control", poisoned / "clean", "--trigger", poisoned / "expert", "--task", tiny.task)
    out = tmp_path / "r"
    run_cli("attack", "measure", poisoned / "merged", *words, "--findings", tmp_path / "scan.json", "-o", out)
    page = run_cli("report", out, "--format", "html").stdout
    assert "MB7301" in page and "&lt;b&gt;forces" in page
    (tmp_path / "bad.json").write_text("[1]")
    ran = run_cli("attack", "measure", poisoned / "merged", *words, "--findings", tmp_path / "bad.json")
    assert ran.exit_code == 2 and "not the findings of a scan" in ran.stderr


def test_a_picture_in_a_report_is_a_png_or_the_report_is_refused(tiny, poisoned, tmp_path, run_cli) -> None:
    words = ("--control", poisoned / "clean", "--trigger", poisoned / "expert", "--task", tiny.task)
    run_cli("attack", "measure", poisoned / "merged", *words, "-o", tmp_path / "r", "-q")
    path = tmp_path / "r" / "result.json"
    document = json.loads(path.read_text())
    document["trigger"]["picture"] = 'AAAA" onerror="x'
    path.write_text(json.dumps(document))
    ran = run_cli("report", tmp_path / "r", "--format", "html")
    assert ran.exit_code == 2 and "not a PNG" in ran.stderr
    del document["merged"]["control"]
    path.write_text(json.dumps(document))
    with pytest.raises(BadReport, match="control"):
        read_report(tmp_path / "r")


def test_the_page_takes_pictures_from_itself_alone(tiny, poisoned, tmp_path, run_cli) -> None:
    words = ("--control", poisoned / "clean", "--trigger", poisoned / "expert", "--task", tiny.task)
    run_cli("attack", "measure", poisoned / "merged", *words, "--base", tiny.base, "-o", tmp_path / "r", "-q")
    page = (tmp_path / "r" / "report.html").read_text()
    assert page.count("<script") == 1
    for allowed in ("img-src data:", "script-src &#39;sha256-", "default-src &#39;none&#39;"):
        assert allowed in page
    assert page.count("<img ") == page.count('src="data:image/png;base64,') == 1 + 2 * 3
    assert "polyline" in page and "http" not in page.replace("http-equiv", "")
