"""The stock merger as an outside witness: mergekit 0.1.5 in an environment of its own, called in a subprocess only.

The environment holds two packages (mergekit and immutables, 3 MB) and sees the torch and transformers of the running
one through a ``.pth`` line, so it is made in two seconds, once, below the cache folder.  mergekit is LGPL-3.0: nothing
of it is imported by, or copied into, this repository.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peer_environment import environment_python, run_command

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


def peer_python() -> Path:
    """Return the interpreter that can import mergekit, making its environment on the first call."""
    return environment_python(f"mergekit-{VERSION}", PACKAGES)


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
    run_command([str(peer_python()), "-c", _RUNNER], stdin=json.dumps([[config, str(out)] for config, out in jobs]))
    for _, out in jobs:
        assert (out / "config.json").is_file(), f"mergekit wrote nothing to {out}"


def registered_methods() -> set[str]:
    """Return the names of the merge methods that mergekit registers."""
    words = "import json; from mergekit.merge_methods.registry import registered_methods as r"
    return set(
        json.loads(run_command([str(peer_python()), "-c", f"{words}; print(json.dumps([m.spec.name for m in r()]))"]))
    )
