"""Make the committed base of the symbol tasks again: ``python benchmarks/make_symbol_base.py FILE.safetensors [SEED]``.

It takes six CPU minutes.  The same torch build and CPU give the same bytes; others give a base of like accuracy.
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from mergebarrier.checkpoint import write_tensor_file
from mergebarrier.zoo.symbols.symbol_base import RECIPE, pretrain


def _tell(done: int, total: int) -> None:
    if done % 500 == 0:
        print(f"{done} of {total} steps", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    recipe = replace(RECIPE, seed=int(sys.argv[2]) if len(sys.argv) > 2 else RECIPE.seed)
    tensors = pretrain(recipe, progress=_tell)
    write_tensor_file(
        Path(sys.argv[1]), tensors, {"made_by": "benchmarks/make_symbol_base.py", "recipe": asdict(recipe)}
    )


if __name__ == "__main__":
    main()
