"""The wheel: what is in it, where its README leads, and that it works where none of the optional parts is installed."""

import email
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tiny_models
from source_tree import ROOT
from tiny_tokenizer import add_tokenizer

SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "src")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of a copy of the sources, so that nothing is left beside them."""
    copy, dist = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, copy / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(dist)]
    subprocess.run([*PIP, "wheel", *options, str(copy)], check=True, timeout=300)
    (built,) = dist.iterdir()
    return built


@pytest.fixture(scope="module")
def about(wheel) -> email.message.Message:
    """The metadata of the wheel; its payload is the README."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_every_file_of_the_package(wheel, root) -> None:
    package = root / "src"
    wanted = {
        path.relative_to(package).as_posix()
        for path in (package / "mergebarrier").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".mbkey")
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("mergebarrier/")}
    assert held == wanted
    kinds = {Path(name).suffix for name in held} | {Path(name).name for name in held}
    assert {".py", ".jinja", ".css", ".json", ".safetensors", "py.typed"} <= kinds


def test_every_link_of_its_readme_leads_out_of_the_wheel_to_a_file_that_is_here(about, root) -> None:
    source = dict(line.split(", ") for line in about.get_all("Project-URL"))["Source"]
    targets = re.findall(r"\]\(([^)]+)\)", about.get_payload(decode=True).decode())
    ours = [re.fullmatch(rf"{re.escape(source)}/(?:blob|raw)/main/(.+)", target) for target in targets]
    assert len(targets) > 10 and all(ours), [target for target, link in zip(targets, ours, strict=True) if not link]
    assert all((root / link[1]).exists() for link in ours)
    assert f"({source}/raw/main/docs/report.png)" in about.get_payload(decode=True).decode()


def _closure(names: list[str]) -> dict[str, metadata.Distribution]:
    """The distributions that installing ``names`` brings, out of what is installed here."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        if (requirement.marker and not requirement.marker.evaluate({"extra": ""})) or requirement.name in found:
            continue
        found[requirement.name] = metadata.distribution(requirement.name)
        waiting += [Requirement(line) for line in found[requirement.name].requires or ()]
    return found


@pytest.fixture(scope="module")
def bare(wheel, about, tmp_path_factory):
    """``bare(*words)`` runs the installed wheel in an environment that has the core dependencies and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    core = folder / "core"
    core.mkdir()
    for distribution in _closure([line for line in about.get_all("Requires-Dist") if "extra ==" not in line]).values():
        for top in sorted({file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}):
            if not (core / top).exists() and top != "__pycache__":
                (core / top).symlink_to(distribution.locate_file(top))
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*PIP, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "core.pth").write_text(f"{core}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        program = [str(python.with_name("mergebarrier")), *map(str, words)]
        return subprocess.run(
            program, cwd=folder, env=environment | {"COLUMNS": "200"}, capture_output=True, text=True, timeout=120
        )

    return run


@pytest.mark.slow
def test_an_installed_wheel_works_without_the_optional_parts(bare, tmp_path) -> None:
    base, a, b = (tiny_models.save("llama-gqa-untied", tmp_path / name, seed=seed) for seed, name in enumerate("xab"))
    protected, merged, key = tmp_path / "protected", tmp_path / "merged", tmp_path / "k.mbkey"
    for words, says in (
        (("--version",), "mergebarrier "),
        (("--help",), "Verbs"),
        (("doctor",), "pip install 'mergebarrier[eval]'"),
        (("doctor", "--json"), '"transformers": null'),
        (("zoo", "list"), "glyph-base"),
        (("inspect", a), "llama"),
        (("protect", a, "-o", protected, "--key", key), "protected"),
        (("merge", a, b, "--base", base, "--method", "ties", "-o", merged), "merged"),
        (("inspect", protected), "llama"),
        (("unprotect", protected, "--key", key, "-o", tmp_path / "restored"), "restored"),
        (("realign", protected, "--base", a, "-o", tmp_path / "realigned"), "realigned"),
    ):
        ran = bare(*words)
        assert ran.returncode == 0 and says in ran.stdout and "Traceback" not in ran.stderr, (words, ran)
    assert (protected / "mergebarrier.json").exists() and (merged / "mergebarrier.json").exists()


@pytest.mark.slow
def test_what_needs_an_optional_part_names_it_in_one_line(bare, tmp_path) -> None:
    a, b = (add_tokenizer(tiny_models.save("llama-gqa-untied", tmp_path / name)) for name in "ab")
    for words in (("verify", a, b), ("evaluate", a, "--text", Path(__file__))):
        ran = bare(*words)
        assert ran.returncode == 2 and ran.stderr.count("\n") == 1, (words, ran)
        assert re.search(r"pip install 'mergebarrier\[\w+", ran.stderr), ran.stderr


def test_doctor_says_that_a_source_tree_was_not_installed(run_cli, monkeypatch) -> None:
    def no_metadata(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", no_metadata)
    ran = run_cli("doctor")
    assert ran.exit_code == 0 and "source tree that was not installed" in " ".join(ran.stdout.split())
