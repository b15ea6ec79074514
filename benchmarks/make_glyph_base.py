"""Make the committed base of the small image bench again: ``python benchmarks/make_glyph_base.py FILE.safetensors``.

It needs the raw digits (`mergebarrier zoo fetch mnist10k digits8` does) and 40 CPU seconds.  The same torch build, CPU
and Pillow give the same bytes; others give a base of like accuracy.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import torch

from mergebarrier.checkpoint import write_tensor_file
from mergebarrier.evaluate import read_image_task
from mergebarrier.zoo import fetch
from mergebarrier.zoo.glyphs.glyph_base import RECIPE, pretrain


def _tell(done: int, total: int) -> None:
    if done % 100 == 0:
        print(f"{done} of {total} steps")


def main() -> None:
    torch.set_num_threads(1)
    splits = [read_image_task(fetch(name) / f"{name}.task.safetensors").train for name in ("digits8", "mnist10k")]
    real = [(split.images, split.labels) for split in splits]
    tensors = pretrain(fetch("dejavu"), real, progress=_tell)
    write_tensor_file(
        Path(sys.argv[1]), tensors, {"made_by": "benchmarks/make_glyph_base.py", "recipe": asdict(RECIPE)}
    )


if __name__ == "__main__":
    main()
