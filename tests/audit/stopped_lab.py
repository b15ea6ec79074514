"""Kill or interrupt an audit and a demo, follow the line that they print, and compare with an undisturbed run.

    python stopped_lab.py VERB WORK        VERB: audit | demo; WORK is an empty folder

Prints one JSON document: how each was stopped, and the rows that were there by then.
"""

import json
import os
import random
import shlex
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import tiny_world
from killing import finish, killed_before, status_of, victim, watched, writes_of
from mergebarrier import zoo
from mergebarrier.checkpoint import open_checkpoint, verify_manifest
from mergebarrier.cli import main
from mergebarrier.keys import Key
from mergebarrier.protect import PROTECTIONS
from mergebarrier.verbs import OutputOptions, protect

_OF_THIS_RUN = ("seconds", "command")


def run(words: list[object], said: Path) -> None:
    """Run a command line as the only thing of this process, with what it says in a file."""
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)
    code = main([str(word) for word in words])
    if code:
        os._exit(code)


def audit(work: Path, world: tiny_world.World) -> list[object]:
    with open_checkpoint(world.original) as original:
        protect(original, PROTECTIONS["exact"](), Key(b"1" * 32), OutputOptions(work / "exact"))
    return [
        "audit", work / "exact", "--original", world.original, "--base", world.base, "--partner", world.partner,
        "--task", world.task, "--partner-task", world.partner_task, "--validation", world.validation,
        "--partner-validation", world.partner_validation, "--merges", "task_arithmetic", "--coefficients", "0.5",
        "--levels", "0-1", "--budget", "1", "--text", world.text,
    ]  # fmt: skip


def demo(work: Path, world: tiny_world.World) -> list[object]:
    del work
    assets = zoo.DemoAssets(
        base=world.base,
        expert_a=world.original,
        expert_b=world.partner,
        task_a=zoo.TaskPaths(world.validation, world.validation, world.task),
        task_b=zoo.TaskPaths(world.partner_validation, world.partner_validation, world.partner_task),
        text_train=world.text,
        text_test=world.text,
    )
    zoo.demo_assets = lambda progress: assets
    return ["demo"]


def timeless(value: Any) -> Any:
    """Leave out of a document what a clock says, and the words of the command."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key not in _OF_THIS_RUN}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def found(verb: str, out: Path) -> Any:
    """What a run ends with; each demo draws a key of its own, so its figures differ and its files do not."""
    (result,) = out.rglob("result.json")
    record = timeless(json.loads(result.read_text()))
    if verb == "audit":
        return record
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    broken = [verify_manifest(path.parent) for path in out.rglob("mergebarrier.json")]
    return record["grade"], [level["attack"] for level in record["levels"]], rows(out), files, broken


def rows(out: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in out.rglob("rows.jsonl"))


def interrupt(task: Callable[[], None], at: int) -> None:
    """Do a task and press Ctrl-C just before its n-th write."""
    watched(task, lambda call: os.kill(os.getpid(), signal.SIGINT) if call == at else None)


def stopped(verb: str, work: Path) -> dict[str, int]:
    world, said, rng = tiny_world.make(work / "world"), work / "said", random.Random(5)
    words = {"audit": audit, "demo": demo}[verb](work, world)

    def task(name: str, *more: str) -> Callable[[], None]:
        return partial(run, [*words, "-o", work / name, *more], said)

    calls = writes_of(task("whole"))
    wanted, seen = found(verb, work / "whole"), {"rows": rows(work / "whole")}
    at = rng.randrange(calls // 3, 2 * calls // 3)
    status = os.waitstatus_to_exitcode(status_of(victim(partial(interrupt, task("stopped"), at))))
    last = said.read_text().splitlines()[-1]
    assert status == 130 and last.startswith("resume with: mergebarrier "), (status, last)
    seen["before Ctrl-C"] = rows(work / "stopped")
    finish(partial(run, shlex.split(last.partition("mergebarrier ")[2]), said))
    assert found(verb, work / "stopped") == wanted
    assert killed_before(at, task("killed")) == signal.SIGKILL
    seen["before the kill"] = rows(work / "killed")
    finish(task("killed", "--resume"))
    assert found(verb, work / "killed") == wanted
    return seen


if __name__ == "__main__":
    print(json.dumps(stopped(sys.argv[1], Path(sys.argv[2]))))
