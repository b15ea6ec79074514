"""A screen that takes nothing changes no exit code, and a stream that is closed is no place for the first file."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = f"{sys.executable} -m mergebarrier"
FIRST_FILE = """
import os, sys
from mergebarrier.cli import main
for fd in (0, 1, 2):
    os.close(fd)
code = main(["doctor", "--log-file", sys.argv[1]])
os._exit(code or (0 if open(sys.argv[1]).fileno() > 2 else 9))
"""


@pytest.mark.parametrize(
    "line",
    [
        f"{RUN} inspect /nowhere > /dev/full",
        f"{RUN} inspect /nowhere --json > /dev/full",
        f"{RUN} inspect /nowhere 2> /dev/full",
        f"{RUN} --help | true; exit ${{PIPESTATUS[0]}}",
    ],
)
def test_what_cannot_be_printed_is_no_finding(line: str) -> None:
    assert subprocess.run(["bash", "-c", line], capture_output=True).returncode == 2


def test_closed_streams_get_no_file_of_ours(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert subprocess.run([sys.executable, "-c", FIRST_FILE, str(log)]).returncode == 0
    assert "exit code 0" in log.read_text()
