"""Links and pipes that somebody left where we write or read: never followed, never waited for, never lost."""

import os
from pathlib import Path

import pytest

from fuzzing import CONFIG, llama
from mergebarrier.checkpoint import verify_manifest
from model_folders import write_folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "b")):
        write_folder(tmp_path / name, llama(seed), config=CONFIG)
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", [".rows.jsonl.new", "rows.jsonl", "result.json", "work"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_report_folder_of_a_stranger_leads_nowhere(name: str, kind: str, place: Path, run_cli) -> None:
    (place / "report").mkdir()
    target = place / ("elsewhere" if name == "work" else "victim")
    (place / "report" / name).symlink_to(target) if kind == "link" else os.mkfifo(place / "report" / name)
    models = ("--original", place / "a", "--base", place / "b", "--partner", place / "b")
    tasks = ("--task", place / "victim", "--partner-task", place / "victim")
    for how in ("--resume", "--overwrite"):
        ran = run_cli("audit", place / "a", *models, *tasks, "-o", place / "report", how)
        assert ran.exit_code == 2 and "MB9006" in ran.stderr, ran.stderr
    ran = run_cli("report", place / "report")
    assert ran.exit_code == 2
    assert (place / "victim").read_text() == "mine" and not [*(place / "elsewhere").iterdir()]


@pytest.mark.parametrize(
    "name", ["tasks", "plan.json", ".plan.json.new", ".progress.json.new", "tasks/0.new", "thesis"]
)
def test_the_work_folder_of_a_report_of_a_stranger_leads_nowhere_and_is_not_cleared(name, place: Path, run_cli) -> None:
    work = place / "report" / "work"
    (work / name).parent.mkdir(parents=True)
    (place / "elsewhere" / "kept").write_text("mine")
    if name == "words":
        (place / "elsewhere").rename(work / name)
        (place / "elsewhere").symlink_to(work / name)
    else:
        (work / name).symlink_to(place / ("elsewhere" if name == "tasks" else "victim"))
    models = ("--original", place / "a", "--base", place / "b", "--partner", place / "b")
    tasks = ("--task", place / "victim", "--partner-task", place / "victim")
    for how in ("--resume", "--overwrite"):
        ran = run_cli("audit", place / "a", *models, *tasks, "-o", place / "report", how)
        assert ran.exit_code == 2 and "MB1011" in ran.stderr, ran.stderr
    assert (place / "victim").read_text() == (place / "elsewhere" / "kept").read_text() == "mine"


def test_a_bill_of_materials_changes_no_file_that_it_does_not_own(place: Path, run_cli) -> None:
    words = ("merge", place / "a", place / "b", "--method", "linear", "-o", place / "out", "--overwrite", "--sbom")
    (place / "bill.json").symlink_to(place / "victim")
    for bill in (place / "bill.json", place / "a" / "config.json", place / "out" / "config.json", place / "elsewhere"):
        ran = run_cli(*words, bill)
        assert ran.exit_code == 2 and "MB1011" in ran.stderr and not (place / "out").exists()
    assert (place / "victim").read_text() == "mine"
    assert run_cli(*words, place / "fine.json").exit_code == 0 and verify_manifest(place / "out") == []


def test_a_pipe_beside_the_key_is_not_waited_for(place: Path, run_cli) -> None:
    os.mkfifo(place / "k.mergebarrier.json")
    (place / "keys").mkdir()
    os.mkfifo(place / "keys" / "out.mergebarrier.json")
    ran = run_cli("protect", place / "a", "--key", place / "keys" / "k.mbkey", "-o", place / "out")
    assert ran.exit_code == 0, ran.stderr
    assert [path for path in (place / "keys").iterdir() if path.is_file() and path.name.endswith(".mergebarrier.json")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("endless", ["/dev/zero", "pipe"])
def test_what_has_no_end_is_not_read(endless: str, place: Path, run_cli) -> None:
    if endless == "pipe":
        os.mkfifo(place / "pipe")
    source = place / endless
    merge = ("merge", place / "a", place / "b", "--method", "linear", "-o", place / "out")
    for words in (
        ("doctor", "--family", source),
        (*merge, "--sign", source),
        (*merge, "--verify-signature", source),
        ("inspect", place / "a", "--verify-signature", source),
    ):
        ran = run_cli(*words)
        assert ran.exit_code == 2 and "regular file" in ran.stderr, (words, ran.stderr)
        assert not (place / "out").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_signature_is_not_written_through_a_link(place: Path, run_cli) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (place / "ours.pem").write_bytes(secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (place / "out.sig").symlink_to(place / "victim")
    words = ("merge", place / "a", place / "b", "--method", "linear", "-o", place / "out", "--sign", place / "ours.pem")
    ran = run_cli(*words)
    assert ran.exit_code == 2 and "MB1002" in ran.stderr and (place / "victim").read_text() == "mine"
