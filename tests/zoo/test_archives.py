"""A member of a wheel, a tarball or a Debian package is read in place; each index has its own client."""

import dataclasses
import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from mergebarrier.errors import AssetMissing
from mergebarrier.zoo import ASSETS, Package
from mergebarrier.zoo.packages import sources
from mergebarrier.zoo.packages.archives import is_archive, open_member

PAYLOAD = b"pictures" * 5000


def tar(mode: str, name: str = "package/data/x.bin") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for member, data in (("package/other", b"no"), (name, PAYLOAD)):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def ar(**members: bytes) -> bytes:
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name.replace('_', '.'):<16}{'0':<12}{'0':<6}{'0':<6}{'100644':<8}{len(data):<10}".encode() + b"`\n"
        out += data + b"\n" * (len(data) % 2)
    return out


def archive(folder: Path, kind: str) -> Path:
    place = folder / f"made-up_1.0{kind}"
    if kind == ".whl":
        with zipfile.ZipFile(place, "w") as wheel:
            wheel.writestr("package/data/x.bin", PAYLOAD)
    elif kind == ".tgz":
        place.write_bytes(tar("w:gz"))
    else:
        data = tar("w:xz", "./package/data/x.bin")
        place.write_bytes(ar(debian_binary=b"2.0", control_tar_xz=b"odd", data_tar_xz=data))
    return place


@pytest.mark.parametrize("kind", [".whl", ".tgz", ".deb"])
def test_a_member_is_read_and_an_absent_one_is_refused(kind: str, tmp_path) -> None:
    place = archive(tmp_path, kind)
    assert is_archive(place) and not is_archive(tmp_path / "x.bin")
    with open_member(place, "package/data/x.bin") as stream:
        assert stream.read() == PAYLOAD
    with pytest.raises(AssetMissing, match="package/y is not in the archive"), open_member(place, "package/y"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [place.name], "nothing is unpacked"


@pytest.mark.parametrize("data", [b"", b"!<arch>\n", b"!<arch>\n" + b"x" * 60, ar(control_tar_xz=b"odd")])
def test_a_debian_package_without_data_is_refused(data: bytes, tmp_path) -> None:
    (tmp_path / "x.deb").write_bytes(data)
    with pytest.raises(AssetMissing, match=r"data\.tar"), open_member(tmp_path / "x.deb", "a"):
        pass


def package(folder: Path, kind: str, index: str) -> Package:
    place = archive(folder, kind)
    return Package(
        distribution="made-up",
        version="1.0",
        archive=place.name,
        archive_sha256=hashlib.sha256(place.read_bytes()).hexdigest(),
        member="package/data/x.bin",
        member_sha256=hashlib.sha256(PAYLOAD).hexdigest(),
        member_bytes=len(PAYLOAD),
        index=index,
    )


@pytest.mark.parametrize(
    ("kind", "index", "begins", "names"),
    [
        (".tgz", "npm", ["npm", "pack", "--ignore-scripts"], "made-up@1.0"),
        (".deb", "debian", ["apt-get"], "made-up=1.0"),
    ],
)
def test_each_index_has_its_client(kind, index, begins, names, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "elsewhere").mkdir()
    wanted, calls = package(tmp_path / "elsewhere", kind, index), []

    def run(command, *, cwd, **_):
        calls.append(command)
        archive(Path(cwd), kind)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    found = sources.download(wanted)
    assert calls[0][: len(begins)] == begins and calls[0][-1] == names
    assert sources.find(wanted) == found
    sources.extract(wanted, found, tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == PAYLOAD
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError("no client")))
    with pytest.raises(AssetMissing, match=r"(npm|apt-get) could not fetch it: no client"):
        sources.download(wanted)


def test_any_version_serves_only_with_the_same_bytes(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(tmp_path / "cache"))
    face = ASSETS["dejavu"].packages[0]
    assert sources.route(face) == "installed", "whatever release of matplotlib is here"
    other = dataclasses.replace(face, member_sha256="0" * 64)
    assert sources.find(other) is None
    assert sources.find(dataclasses.replace(face, distribution="no such", member="no/file")) is None
