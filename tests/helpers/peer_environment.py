"""Environments for outside witnesses: their packages, and by a ``.pth`` line the torch and transformers of ours.

An environment is made once, below the cache folder, beside its place and renamed, so a half-made one is never used; its
name holds a digest of what it sees, so that another main environment gets another peer.
"""

import hashlib
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder that everything costly to make is kept in."""
    asked = os.environ.get("MERGEBARRIER_CACHE")
    return Path(asked) if asked else Path.home() / ".cache" / "mergebarrier"


def environment_python(name: str, packages: Sequence[str]) -> Path:
    """Return the interpreter of a peer, making its environment on the first call.

    Args:
      name:     of the peer, with its version.
      packages: pinned, each installed without what it asks for.
    """
    sees = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    digest = hashlib.sha256("\n".join([sys.version, *sees, *packages]).encode()).hexdigest()[:12]
    place = cache_folder() / "peers" / f"{name}-{digest}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix="making-") as folder:
            made = Path(folder) / "venv"
            run_command([sys.executable, "-m", "venv", "--without-pip", str(made)])
            site = next(made.glob("lib/python*/site-packages"))
            (site / "main_environment.pth").write_text("\n".join(sees) + "\n")
            pip = [sys.executable, "-m", "pip", "--python", str(made / "bin" / "python")]
            run_command([*pip, "install", "--quiet", "--no-deps", "--disable-pip-version-check", *packages])
            try:
                made.rename(place)
            except OSError:  # another process was first
                if not place.is_dir():
                    raise
    return place / "bin" / "python"


def quiet_environment() -> dict[str, str]:
    """Return variables of a peer: one thread, no network of the hub, and nothing of ours on its path."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return ours | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def run_command(command: list[str], stdin: str = "") -> str:
    """Run a command on one thread and without the network of the hub; AssertionError with what it said, if it fails."""
    ran = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=900, env=quiet_environment())
    assert ran.returncode == 0, f"{command[:4]} failed:\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
    return ran.stdout
