"""--overwrite takes away what the old manifest lists and nothing else, and a run that was killed under it goes on."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.checkpoint.bytes import on_disk
from mergebarrier.errors import DiskFailed, MergebarrierError, NoSpace, NotWritable


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.save("llama-gqa-untied", tmp_path / "model")


def digests(folder: Path) -> dict[str, str]:
    with open_checkpoint(folder) as checkpoint:
        return checkpoint.digests()


@pytest.mark.parametrize("name", ["notes.txt", "more/file", "mine.safetensors"])
def test_a_file_that_the_manifest_does_not_list_is_never_lost(model, tmp_path, run_cli, name: str) -> None:
    assert run_cli("protect", model, "-o", tmp_path / "out").exit_code == 0
    mine = tmp_path / "out" / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    ran = run_cli("protect", model, "-o", tmp_path / "out", "--overwrite")
    assert ran.exit_code == 2 and "MB1011" in ran.stderr and name.split("/")[0] in ran.stderr
    assert mine.read_text() == "mine" and not list(tmp_path.glob("out.partial"))


#: Writes a protected model over another and dies as a killed process does once the first unit is finished.
KILLED = """
import os, signal, sys
from mergebarrier.checkpoint.write.writer import Writer
finish = Writer.finish
def dies(self, *args, **more):
    finish(self, *args, **more)
    os.kill(os.getpid(), signal.SIGKILL)
Writer.finish = dies
from mergebarrier.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_overwrite_is_resumed_and_the_old_output_stands_until_then(model, tmp_path, run_cli) -> None:
    key = tmp_path / "k.mbkey"
    words = ("protect", str(model), "-o", str(tmp_path / "out"), "--key", str(key))
    assert run_cli(*words).exit_code == 0
    old = digests(tmp_path / "out")
    full = (*words, "--profile", "full")
    died = subprocess.run([sys.executable, "-c", KILLED, *full, "--overwrite"], env={**os.environ}, capture_output=True)
    assert died.returncode == -signal.SIGKILL and digests(tmp_path / "out") == old
    ran = run_cli(*full, "--resume")
    assert ran.exit_code == 0, ran.stderr
    assert digests(tmp_path / "out") != old and not list(tmp_path.glob("out.*rep*")) + list(tmp_path.glob("*.partial"))
    assert run_cli("unprotect", tmp_path / "out", "--key", key, "-o", tmp_path / "back").exit_code == 0


def test_a_run_without_overwrite_does_not_inherit_the_right_to_replace(model, tmp_path, run_cli) -> None:
    assert run_cli("protect", model, "-o", tmp_path / "out").exit_code == 0
    (tmp_path / "out.partial").mkdir()
    ran = run_cli("protect", model, "-o", tmp_path / "out", "--resume", "--profile", "full")
    assert ran.exit_code == 2 and "MB1011" in ran.stderr and "--overwrite" in ran.stderr


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, NotWritable),
        (errno.EPERM, NotWritable),
        (errno.EROFS, NotWritable),
        (errno.ENOSPC, NoSpace),
        (errno.EIO, DiskFailed),
    ],
)
def test_what_the_system_refuses_has_a_code(number: int, kind: type[MergebarrierError]) -> None:
    with pytest.raises(kind, match=os.strerror(number)), on_disk("place"):
        raise OSError(number, os.strerror(number))


def test_an_output_on_a_file_system_that_takes_no_folders_is_one_line(model, run_cli) -> None:
    """/sys takes no folders, not even from root."""
    ran = run_cli("protect", model, "-o", "/sys/out", "--key", model.parent / "k.mbkey")
    assert ran.exit_code == 2 and ran.stderr.startswith("error: MB1020 ") and not (model.parent / "k.mbkey").exists()
