"""The GitHub Action and the pre-commit hook, run by their own entry points."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from mergebarrier.cli.scan import command
from mergebarrier.engines.process import ProcessHand
from model_folders import small_tensors, write_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    write_folder(tmp_path / "up loads" / "a", small_tensors())
    write_folder(tmp_path / "uploads" / "a", small_tensors())
    write_folder(tmp_path / "uploads" / "b", small_tensors())
    (tmp_path / "uploads" / "b" / "x.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    return tmp_path


def _run(command: list[str], folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src"), **more}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _run_action(folder: Path, **given: str) -> "subprocess.CompletedProcess[str]":
    """Run the last step of the action as GitHub does; its output goes to the file ``output``."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    step = action["runs"]["steps"][-1]
    assert step["shell"] == "bash" and all("${{" not in one["run"] for one in action["runs"]["steps"])
    inputs = {name: given.get(name, about.get("default", "")) for name, about in action["inputs"].items()}
    variables = {
        name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: inputs[found[1]], text)
        for name, text in step["env"].items()
    }
    output = str(folder / "output")
    return _run(["bash", "-eo", "pipefail", "-c", step["run"]], folder, GITHUB_OUTPUT=output, **variables)


def test_the_action_scans_writes_sarif_and_fails_as_the_scan_does(uploads: Path) -> None:
    ran = _run_action(uploads, models="uploads", arguments="--each --threads 1")
    assert ran.returncode == 1 and (uploads / "output").read_text() == "exit-code=1\n", ran.stderr
    results = json.loads((uploads / "scan.sarif").read_text())["runs"][0]["results"]
    assert [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in results] == [
        "uploads/b/x.pkl"
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"models": "uploads/a --help"},
        {"models": "uploads/a $(touch${IFS}owned) ;touch owned"},
        {"models": "uploads/a", "sarif": "no/such/folder/scan.sarif"},
        {"models": "uploads/a", "arguments": "--help"},
        {"models": "uploads/a", "arguments": "--dry-run"},
    ],
    ids=["an option", "a command", "no place for the document", "help", "a plan"],
)
def test_the_gate_of_the_action_stays_shut_whatever_an_input_says(given, uploads: Path) -> None:
    ran = _run_action(uploads, **given)
    assert ran.returncode == 2 and (uploads / "output").read_text() == "exit-code=2\n", ran.stderr
    assert not (uploads / "owned").exists()


def test_the_action_does_not_write_its_document_through_a_link(uploads: Path) -> None:
    pickle = uploads / "uploads" / "b" / "x.pkl"
    before = pickle.read_bytes()
    (uploads / "scan.sarif").symlink_to("uploads/b/x.pkl")
    ran = _run_action(uploads, models="uploads", arguments="--each --threads 1")
    assert ran.returncode == 1 and pickle.read_bytes() == before, ran.stderr
    assert not (uploads / "scan.sarif").is_symlink() and json.loads((uploads / "scan.sarif").read_text())["runs"]


def test_a_file_among_the_uploads_is_not_taken_for_a_library(uploads: Path, monkeypatch) -> None:
    for name in ("pip", "torch", "json"):
        (uploads / f"{name}.py").write_text("open('owned', 'w')")
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    (words,) = [step["run"] for step in action["runs"]["steps"] if "INSTALL" in step["env"]]
    assert _run(["bash", "-c", words], uploads, INSTALL="no/such/folder").returncode == 1
    monkeypatch.chdir(uploads)
    with closing(ProcessHand(uploads / "no plan", 1)) as hand:
        assert "no such plan" in str(hand.perform(0))
    assert not (uploads / "owned").exists()


def test_the_hook_scans_the_folders_of_its_arguments(uploads: Path, run_cli, monkeypatch) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    program, *words = shlex.split(hook["entry"])
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts[program] == "mergebarrier.cli:main" and hook["pass_filenames"] is False
    assert hook["always_run"] is True, "a commit of a link alone would not be looked at"
    monkeypatch.chdir(uploads)
    ran = run_cli(*words, "uploads", "--each")
    assert ran.exit_code == 1 and "x.pkl" in ran.stdout, ran.stderr


def test_the_page_shows_options_that_exist() -> None:
    page = (ROOT / "docs" / "scan.md").read_text(encoding="utf-8")
    named = {option for param in command.params for option in param.opts}
    assert {"--each", "--baseline", "--format"} <= named and "id: mergebarrier-scan" in page
