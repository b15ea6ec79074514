"""The stock merger as an outside witness: mergekit 0.1.5 in an environment of its own, run as a process of its own.

The environment holds two packages (mergekit and immutables, 3 MB) and sees the torch and transformers of the running
one through a ``.pth`` line, so it is made in two seconds, once, below the cache folder.  Its start costs more than the
merges of most tests, so one process answers all tests of a worker and ends with it.  mergekit is LGPL-3.0: nothing of
it is imported by, or copied into, this repository.
"""

import functools
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peer_environment import environment_python, quiet_environment

VERSION = "0.1.5"
PACKAGES = (f"mergekit=={VERSION}", "immutables==0.21")

_SERVER = """
import json, sys, traceback
answers, sys.stdout = sys.stdout, sys.stderr
import torch
torch.set_num_threads(1)
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.merge_methods.registry import registered_methods
from mergekit.options import MergeOptions
print(json.dumps([method.spec.name for method in registered_methods()]), file=answers, flush=True)
for line in sys.stdin:
    fault = None
    try:
        for config, out in json.loads(line):
            run_merge(MergeConfiguration.model_validate(config), out, MergeOptions(quiet=True, random_seed=0))
    except Exception:
        fault = traceback.format_exc()
    print(json.dumps(fault), file=answers, flush=True)
"""


def peer_python() -> Path:
    """Return the interpreter that can import mergekit, making its environment on the first call."""
    return environment_python(f"mergekit-{VERSION}", PACKAGES)


@functools.cache
def _process() -> "subprocess.Popen[str]":
    """Start the process that answers: first with the methods that it knows.  It ends when its input does."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([str(peer_python()), "-c", _SERVER], text=True, env=quiet_environment(), **pipes)


def _answer() -> Any:
    answers = _process().stdout
    assert answers is not None
    line = answers.readline()
    assert line, f"mergekit ended with code {_process().wait()}"
    return json.loads(line)


def mergekit_merge(config: dict[str, Any], out: Path) -> None:
    """Run one mergekit recipe, as ``mergekit-yaml`` does.

    Args:
      config: the recipe, as a YAML document would be parsed; models are folders, as strings.
      out:    folder to write.
    Raises: AssertionError with mergekit's own message.
    """
    mergekit_merge_all([(config, out)])


def mergekit_merge_all(jobs: Sequence[tuple[dict[str, Any], Path]]) -> None:
    """Run several recipes, one after the other."""
    registered_methods()  # the first answer
    questions = _process().stdin
    assert questions is not None
    print(json.dumps([[config, str(out)] for config, out in jobs]), file=questions, flush=True)
    fault = _answer()
    assert fault is None, f"mergekit failed:\n{fault}"
    for _, out in jobs:
        assert (out / "config.json").is_file(), f"mergekit wrote nothing to {out}"


@functools.cache
def registered_methods() -> frozenset[str]:
    """Return the names of the merge methods that mergekit registers."""
    return frozenset(_answer())
