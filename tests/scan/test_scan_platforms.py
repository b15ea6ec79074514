"""The GitHub Action and the pre-commit hook, run by their own entry points."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from mergebarrier.cli.scan import command
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


def test_the_action_scans_writes_sarif_and_fails_as_the_scan_does(uploads: Path) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    step = action["runs"]["steps"][-1]
    assert step["shell"] == "bash" and "${{" not in step["run"]
    given = {"models": "uploads", "arguments": "--each --threads 1"}
    inputs = {name: given.get(name, about.get("default", "")) for name, about in action["inputs"].items()}
    variables = {
        name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: inputs[found[1]], text)
        for name, text in step["env"].items()
    }
    output = uploads / "output"
    ran = _run(["bash", "-eo", "pipefail", "-c", step["run"]], uploads, GITHUB_OUTPUT=str(output), **variables)
    assert ran.returncode == 1 and output.read_text() == "exit-code=1\n", ran.stderr
    results = json.loads((uploads / "scan.sarif").read_text())["runs"][0]["results"]
    assert [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in results] == [
        "uploads/b/x.pkl"
    ]


def test_the_hook_scans_the_folders_of_its_arguments(uploads: Path, run_cli, monkeypatch) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    program, *words = shlex.split(hook["entry"])
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts[program] == "mergebarrier.cli:main" and hook["pass_filenames"] is False
    monkeypatch.chdir(uploads)
    ran = run_cli(*words, "uploads", "--each")
    assert ran.exit_code == 1 and "x.pkl" in ran.stdout, ran.stderr


def test_the_page_shows_options_that_exist() -> None:
    page = (ROOT / "docs" / "scan.md").read_text(encoding="utf-8")
    named = {option for param in command.params for option in param.opts}
    assert {"--each", "--baseline", "--format"} <= named and "id: mergebarrier-scan" in page
