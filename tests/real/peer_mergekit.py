"""The stock merger as an outside witness: mergekit 0.1.5 in an environment of its own, called in a subprocess only.

The environment holds two packages (mergekit and immutables, 3 MB) and sees the torch and transformers of the running
one through a ``.pth`` line, so it is made in two seconds, once, below the cache folder.  mergekit is LGPL-3.0: nothing
of it is imported by, or copied into, this repository.
"""

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VERSION = "0.1.5"
PACKAGES = (f"mergekit=={VERSION}", "immutables==0.21")

_RUNNER = """
import json, sys
import torch
torch.set_num_threads(1)
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
for config, out in json.load(sys.stdin):
    run_merge(MergeConfiguration.model_validate(config), out, MergeOptions(quiet=True, random_seed=0))
"""


def cache_folder() -> Path:
    """Return the folder that everything costly to make is kept in."""
    asked = os.environ.get("MERGEBARRIER_CACHE")
    return Path(asked) if asked else Path.home() / ".cache" / "mergebarrier"


def peer_python() -> Path:
    """Return the interpreter that can import mergekit, making its environment on the first call.

    The environment is made beside its place and renamed, so a half-made one is never used; its name holds a digest of
    what it sees, so that another main environment gets another peer.
    """
    sees = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    digest = hashlib.sha256("\n".join([sys.version, *sees, *PACKAGES]).encode()).hexdigest()[:12]
    place = cache_folder() / "peers" / f"mergekit-{VERSION}-{digest}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix="making-") as folder:
            made = Path(folder) / "venv"
            _run([sys.executable, "-m", "venv", "--without-pip", str(made)])
            site = next(made.glob("lib/python*/site-packages"))
            (site / "main_environment.pth").write_text("\n".join(sees) + "\n")
            pip = [sys.executable, "-m", "pip", "--python", str(made / "bin" / "python")]
            _run([*pip, "install", "--quiet", "--no-deps", "--disable-pip-version-check", *PACKAGES])
            try:
                made.rename(place)
            except OSError:  # another process was first
                if not place.is_dir():
                    raise
    return place / "bin" / "python"


def mergekit_merge(config: dict[str, Any], out: Path) -> None:
    """Run one mergekit recipe, as ``mergekit-yaml`` does.

    Args:
      config: the recipe, as a YAML document would be parsed; models are folders, as strings.
      out:    folder to write.
    Raises: AssertionError with mergekit's own message.
    """
    mergekit_merge_all([(config, out)])


def mergekit_merge_all(jobs: Sequence[tuple[dict[str, Any], Path]]) -> None:
    """Run several recipes in one process, whose start costs more than small merges do."""
    _run([str(peer_python()), "-c", _RUNNER], stdin=json.dumps([[config, str(out)] for config, out in jobs]))
    for _, out in jobs:
        assert (out / "config.json").is_file(), f"mergekit wrote nothing to {out}"


def registered_methods() -> set[str]:
    """Return the names of the merge methods that mergekit registers."""
    words = "import json; from mergekit.merge_methods.registry import registered_methods as r"
    return set(json.loads(_run([str(peer_python()), "-c", f"{words}; print(json.dumps([m.spec.name for m in r()]))"])))


def _run(command: list[str], stdin: str = "") -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment.pop("PYTHONPATH", None)
    ran = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=900, env=environment)
    assert ran.returncode == 0, f"{command[:4]} failed:\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
    return ran.stdout
