"""Raw bytes are accepted by hash, from the route that has them, and the network is used by ``fetch`` alone."""

import dataclasses
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from mergebarrier.errors import AssetMissing
from mergebarrier.zoo import Package, fetch, list_assets, path
from mergebarrier.zoo.packages import sources

PAYLOAD = b"weights" * 1000


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MERGEBARRIER_ZOO", raising=False)


def wheel(folder: Path, payload: bytes = PAYLOAD) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "made_up-1.0-py3-none-any.whl"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr(zipfile.ZipInfo("made_up/data.bin"), payload)
    return place


@pytest.fixture
def package(tmp_path) -> Package:
    made = wheel(tmp_path / "reference")
    return Package(
        distribution="made-up",
        version="1.0",
        archive=made.name,
        archive_sha256=hashlib.sha256(made.read_bytes()).hexdigest(),
        member="made_up/data.bin",
        member_sha256=hashlib.sha256(PAYLOAD).hexdigest(),
        member_bytes=len(PAYLOAD),
    )


def pip(monkeypatch, make) -> list[list[str]]:
    """Stand in for pip: record the command and let ``make(folder)`` write what it would have written."""
    calls = []

    def run(command, **_):
        calls.append(command)
        code = make(Path(command[command.index("-d") + 1]))
        return subprocess.CompletedProcess(command, code or 0, "", "noise\nERROR: no route to host\n")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_a_wheel_in_the_users_folder_is_found_and_extracted(package, tmp_path, monkeypatch) -> None:
    assert sources.find(package) is None and sources.route(package) == ""
    wheel(tmp_path / "mine")
    monkeypatch.setenv("MERGEBARRIER_ZOO", str(tmp_path / "mine"))
    found = sources.find(package)
    assert found == tmp_path / "mine" / package.archive and sources.route(package) == "folder"
    sources.extract(package, found, tmp_path / "out.bin")
    assert (tmp_path / "out.bin").read_bytes() == PAYLOAD


def test_the_raw_file_is_as_good_as_the_wheel(package, tmp_path, monkeypatch) -> None:
    (tmp_path / "data.bin").write_bytes(PAYLOAD)
    monkeypatch.setenv("MERGEBARRIER_ZOO", str(tmp_path))
    sources.extract(package, sources.find(package), tmp_path / "out.bin")
    assert (tmp_path / "out.bin").read_bytes() == PAYLOAD


def test_an_installed_distribution_comes_first_and_must_be_the_pinned_version(package, tmp_path, monkeypatch) -> None:
    info = tmp_path / "site" / "made_up-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    (tmp_path / "site" / "made_up").mkdir()
    (tmp_path / "site" / "made_up" / "data.bin").write_bytes(PAYLOAD)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert sources.route(package) == "installed"
    sources.extract(package, sources.find(package), tmp_path / "out.bin")
    assert (tmp_path / "out.bin").read_bytes() == PAYLOAD
    with pytest.raises(AssetMissing, match=r"version 1\.0 is installed, 2\.0 is needed"):
        sources.find(dataclasses.replace(package, version="2.0"))


@pytest.mark.parametrize("payload", [PAYLOAD[:-1], PAYLOAD + b"x", b"other", PAYLOAD * 50])
def test_a_wrong_hash_stops_everything_and_leaves_nothing(payload: bytes, package, tmp_path) -> None:
    raw = tmp_path / "data.bin"
    raw.write_bytes(payload)
    other = wheel(tmp_path / "other", payload)
    trusted = dataclasses.replace(package, archive_sha256=hashlib.sha256(other.read_bytes()).hexdigest())
    for source, expected in ((raw, package), (other, package), (other, trusted)):
        with pytest.raises(AssetMissing, match="is expected") as refused:
            sources.extract(expected, source, tmp_path / "out.bin")
        assert refused.value.what.count("SHA-256") == 1 and not (tmp_path / "out.bin").exists()


def test_a_download_is_pip_without_dependencies_and_stays_in_the_cache(package, monkeypatch) -> None:
    calls = pip(monkeypatch, lambda folder: wheel(folder) and 0)
    place = sources.download(package)
    assert place.is_file() and sources.find(package) == place and sources.route(package) == "cache"
    assert "--no-deps" in calls[0] and "made-up==1.0" in calls[0] and calls[0][1:4] == ["-m", "pip", "download"]
    assert [p.name for p in place.parent.iterdir()] == [package.archive]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: 1, "no route to host"),
        (lambda folder: 0, "no route to host"),
        (lambda folder: wheel(folder, b"tampered") and 0, "is expected"),
    ],
)
def test_a_download_that_fails_leaves_nothing(make, says: str, package, monkeypatch) -> None:
    pip(monkeypatch, make)
    with pytest.raises(AssetMissing, match=says):
        sources.download(package)
    assert sources.find(package) is None


def test_only_fetch_goes_to_the_network(monkeypatch) -> None:
    calls = pip(monkeypatch, lambda folder: 1)
    for name in ("smollm2", "kjv", "expert-items"):
        with pytest.raises(AssetMissing, match="zoo fetch"):
            path(name)
    assert {entry.asset.name for entry in list_assets() if entry.state == "absent"} >= {"smollm2", "expert-items"}
    assert not calls
    with pytest.raises(AssetMissing, match="pip could not fetch it"):
        fetch("kjv")
    assert len(calls) == 1


def test_what_is_made_from_our_own_lists_needs_nothing() -> None:
    place = path("items")
    assert sorted(p.name for p in place.iterdir()) == ["test.jsonl", "train.jsonl", "val.jsonl"]
    states = {entry.asset.name: entry.state for entry in list_assets()}
    assert states["items"] == "ready" and states["tickets"] == "local" and states["smollm2"] == "absent"


def test_an_unknown_name_is_answered_with_the_names_there_are(run_cli) -> None:
    ran = run_cli("zoo", "path", "smollm\x1b3")
    assert ran.exit_code == 2 and "smollm2" in ran.stderr and "\x1b" not in ran.stderr


def test_the_verb_lists_and_names_paths(run_cli, tmp_path) -> None:
    listed = run_cli("zoo", "list", "--json").json
    assert {row["name"]: row["state"] for row in listed["assets"]}["smollm2"] == "absent"
    assert listed["cache"] == str(tmp_path / "cache")
    assert "expert-items" in run_cli("zoo", "list").stdout
    assert run_cli("zoo", "path", "items").stdout.strip() == str(path("items"))
    missing = run_cli("zoo", "path", "smollm2")
    assert missing.exit_code == 2 and missing.stderr.startswith("error: MB9005 smollm2: ")
