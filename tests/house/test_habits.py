"""The files around the code say what is true: the workflow, the hooks, the citation, the packaging."""

import re
import tomllib

import pytest
import yaml

from mergebarrier import __version__
from test_lint import CHECKS


@pytest.fixture(scope="module")
def project(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _read(root, name: str) -> dict:
    return yaml.safe_load((root / name).read_text(encoding="utf-8"))


def test_the_workflow_may_do_nothing_but_run_the_tests(root, project) -> None:
    workflow = _read(root, ".github/workflows/ci.yml")
    (job,) = workflow["jobs"].values()
    assert workflow["permissions"] == {} and job["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in used), used
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test"]
    oldest = project["requires-python"].removeprefix(">=")
    assert job["strategy"]["matrix"]["python"][0] == oldest and len(job["strategy"]["matrix"]["python"]) == 2


def test_the_hooks_are_the_checks_of_every_change(root) -> None:
    (repository,) = _read(root, ".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert repository["repo"] == "local"
    for check in CHECKS:
        assert any(entry.startswith(f".venv/bin/{check}") for entry in entries), check


def test_the_citation_names_this_version_and_this_repository(root, project) -> None:
    cited = _read(root, "CITATION.cff")
    assert (cited["version"], cited["license"]) == (__version__, project["license"])
    assert cited["repository-code"] == project["urls"]["Source"]


def test_the_forms_ask_for_something(root) -> None:
    forms = sorted((root / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 2
    for form in forms:
        fields = yaml.safe_load(form.read_text(encoding="utf-8"))["body"]
        assert [field for field in fields if field.get("validations", {}).get("required")], form.name


def test_every_tool_that_is_asked_for_is_pinned(root, project) -> None:
    lines = (root / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-").splitlines()
    pinned = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    wanted = {re.split(r"[\[<>=]", name)[0].lower() for name in [*project["dependencies"], *extras]}
    assert len(wanted) > 15 and not wanted - pinned


def test_every_mark_is_explained_to_contributors(root) -> None:
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    page = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert settings["markers"] and all(f"`{mark.partition(':')[0]}`" in page for mark in settings["markers"])


def test_every_room_has_its_line_in_the_walk(root, modules) -> None:
    page = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = {module.room for module in modules if module.is_door and module.room}
    assert not {room for room in rooms if f"`{room}`" not in page}
