"""The bench of image tasks, ready to be attacked: a base, tasks with frozen heads, and names for shadow heads.

Everything comes out of packages; the small bench needs the package index of Python alone and a few seconds.

    bench = base + {task: file} + names;   an expert of task T = fine_tune(base, T, recipe)

Source: ours, after the six-task merges of BadMerging (arXiv 2408.07362).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier.zoo._image_catalogue import FULL_TASKS, GLYPH_RECIPE, SMALL_TASKS
from mergebarrier.zoo._zoo import fetch

if TYPE_CHECKING:
    from mergebarrier.training import FullRecipe

#: size -> (base, names, tasks, recipe of an expert).
_BENCHES = {
    "small": ("glyph-base", "glyph-names", SMALL_TASKS, GLYPH_RECIPE),
    "full": ("glyph-base", "glyph-names", FULL_TASKS, GLYPH_RECIPE),
}
SIZES = tuple(_BENCHES)


@dataclass(frozen=True)
class VisionBench:
    """Paths of a bench.

    Attributes:
      base:   folder of the pre-trained encoder.
      tasks:  name -> task file.
      names:  file with tensor "vectors", Float32[Tensor, "n features"], and metadata {"names": [...], "scale": s}:
              every class name that the base knows, those of no task among them.
      recipe: how a clean expert is made.
    """

    base: Path
    tasks: dict[str, Path]
    names: Path
    recipe: "FullRecipe"


def vision_bench(size: str = "small", *, progress: Callable[[str, int, int], None] | None = None) -> VisionBench:
    """Fetch and make a bench.

    Args:
      size:     "small" or "full".
      progress: called with (what, done, in all).
    Returns: VisionBench.
    Raises:  AssetMissing, MissingExtra; ValueError for another size.
    """
    if size not in _BENCHES:
        raise ValueError(f"{size!r} is none of {', '.join(_BENCHES)}")
    from mergebarrier.evaluate import TASK_SUFFIX
    from mergebarrier.training import FullRecipe

    base, names, tasks, recipe = _BENCHES[size]
    return VisionBench(
        fetch(base, progress=progress),
        {task: fetch(task, progress=progress) / f"{task}{TASK_SUFFIX}" for task in tasks},
        fetch(names, progress=progress) / "names.safetensors",
        FullRecipe(**recipe),
    )


def expert(size: str, task: str, *, progress: Callable[[str, int, int], None] | None = None) -> Path:
    """Return the folder of the clean expert (seed 0) of a task of a bench, making it when it is absent."""
    base, _, tasks, _ = _BENCHES[size]
    if task not in tasks:
        raise ValueError(f"{task!r} is none of {', '.join(tasks)}")
    return fetch(f"{base.removesuffix('-base')}-expert-{task}", progress=progress)
