"""Everything that the demonstration and the tests of the real model need, made once: base, experts, tasks."""

import os
from dataclasses import dataclass
from pathlib import Path

from mergebarrier.zoo.catalogue import ASSETS
from mergebarrier.zoo.fetch import AssetProgress, fetch, state_of
from mergebarrier.zoo.language import words
from mergebarrier.zoo.side_by_side import make_together


@dataclass(frozen=True)
class TaskPaths:
    """The three splits of a task, as task files that share no word."""

    train: Path
    val: Path
    test: Path


@dataclass(frozen=True)
class DemoAssets:
    """Everything that the demonstration and the tests of the real model need.

    Attributes:
      base:                 SmolLM2-135M-Instruct, bfloat16.
      expert_a, expert_b:   fine-tuned on ``task_a`` (to be protected) and on ``task_b`` (the partner's own).
      task_a, task_b:       their tasks.
      text_train, text_test: plain text; the latter is whole books that the former lacks.
    """

    base: Path
    expert_a: Path
    expert_b: Path
    task_a: TaskPaths
    task_b: TaskPaths
    text_train: Path
    text_test: Path


def demo_assets(progress: AssetProgress | None = None) -> DemoAssets:
    """Fetch and make everything for the demonstration: about 100 MB of downloads and three minutes, once.

    Args:
      progress: called with (what, done, in all).
    Returns: DemoAssets.
    Raises:  AssetMissing, MissingExtra.
    """
    texts, base = fetch("kjv", progress=progress), fetch("smollm2", progress=progress)
    for name in ("tickets", "items"):
        fetch(name)
    to_train = [name for name in ("expert-tickets", "expert-items") if state_of(ASSETS[name]) != "ready"]
    if len(to_train) > 1 and len(os.sched_getaffinity(0)) > 1:
        tick = progress if progress is not None else (lambda what, done, total: None)
        make_together(to_train, lambda done, total: tick("training two experts", done, total))
    return DemoAssets(
        base=base,
        expert_a=fetch("expert-tickets", progress=progress),
        expert_b=fetch("expert-items", progress=progress),
        task_a=_task_paths(fetch("tickets")),
        task_b=_task_paths(fetch("items")),
        text_train=texts / "train.txt",
        text_test=texts / "test.txt",
    )


def _task_paths(folder: Path) -> TaskPaths:
    return TaskPaths(*(folder / f"{name}.jsonl" for name in words.SPLITS))
