"""What pickles would import if somebody loaded them, as picklescan reads it in a process of its own.

    descriptors -> one worker under limits -> per file: dangerous, unknown or harmless names, or "not looked at"

A pickle without picklescan installed was not looked at, and is reported as that.

Source: picklescan.  Differs: the library never runs in this process, and a file that kills it costs only its own line.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_WORKER: Final = Path(__file__).with_name("pickle_worker.py")
_WALL_S: Final = 60
#: Environment of the worker: one thread, or the numeric library alone takes the memory that it may have.
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_NAMES_SHOWN: Final = 5
#: Why nothing was looked at where the library is not there.
MISSING: Final = "picklescan is not installed; pip install 'mergebarrier[scan]'"


@dataclass(frozen=True)
class Imports:
    """What a pickle would import.

    Attributes:
      dangerous: names that run code or reach the system.
      unknown:   names that are on no list.
      harmless:  how many names are known to be harmless.
      error:     why it could not be followed to its end; "" where it could.
      looked:    whether anything looked at it.
      texts:     (name, text) of an archive's members that are texts which loaders read, as far as it was unpacked.
      closed:    members, or "" for the file itself, of archives that nothing here unpacks.
      outside:   members of tar files that lead out of the folder that they are unpacked in.
    """

    dangerous: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    harmless: int = 0
    error: str = ""
    looked: bool = True
    texts: tuple[tuple[str, str], ...] = ()
    closed: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    def words(self) -> str:
        """Return the first names, the dangerous before the unknown."""
        names = self.dangerous or self.unknown
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        return ", ".join(names[:_NAMES_SHOWN]) + more


def can_look() -> bool:
    """Say whether picklescan is installed."""
    return importlib.util.find_spec("picklescan") is not None


def imports_of(files: Sequence[tuple[int, str]]) -> tuple[Imports, ...]:
    """Look into open files.

    Args:
      files: (descriptor at its start, "zip", "archive", "numpy" or "pickle"); the descriptors stay open.
    Returns: one per file; not looked at where picklescan is missing or did not come that far.
    """
    unseen = Imports(looked=False, error=MISSING)
    if not files or not can_look():
        return (unseen,) * len(files)
    words = [f"{descriptor}:{kind}" for descriptor, kind in files]
    command = [sys.executable, "-P", str(_WORKER), *words]
    try:
        ran = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            pass_fds=[descriptor for descriptor, _ in files],
            env=_ENVIRONMENT,
            timeout=_WALL_S,
            check=False,
        )
        lines = ran.stdout.splitlines()
    except subprocess.TimeoutExpired as late:
        lines = (late.stdout or b"").splitlines()
    found = [_read(line) for line in lines[: len(files)]]
    lost = Imports(looked=False, error="the scanner of pickles ran out of its time or memory")
    return (*found, *[lost] * (len(files) - len(found)))


def _read(line: bytes) -> Imports:
    told = json.loads(line)
    by_safety: dict[str, list[str]] = {"dangerous": [], "suspicious": [], "innocuous": []}
    for module, name, safety in told["globals"]:
        by_safety[safety].append(f"{module}.{name}")
    return Imports(
        tuple(by_safety["dangerous"]),
        tuple(by_safety["suspicious"]),
        len(by_safety["innocuous"]),
        told["error"],
        told["looked"],
        texts=tuple((name, text) for name, text in told.get("texts", ())),
        closed=tuple(told.get("closed", ())),
        outside=tuple(told.get("outside", ())),
    )
