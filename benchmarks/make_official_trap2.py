"""Train an adapter with the published code of Trap^2, so that both stand in one table (`bench_trained_smollm2.py`).

    git clone https://github.com/ml-postech/Trap2 CLONE
    python benchmarks/make_official_trap2.py CLONE -o ADAPTER [--strength .01] [--steps 150] [--rate 5e-4] [--seed 0]

Nothing of that code (MIT, ef65a26) is here or changed: its ``training_scripts/math_training_trap2.py`` runs as it is,
with its loss, optimiser, schedule and adapter.  It wants GSM8K from the hub; in place of the library that fetches it
stands a table of the demonstration's rows, and the prompt is the row's own.  It trains from the base, as published;
the last tenth of the rows is what it chooses its best state on.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _keep import say
from mergebarrier import zoo
from mergebarrier.evaluate import read_task


class Table(list[dict[str, str]]):
    """Rows that can be split, which is all that the published code asks of a data set."""

    def train_test_split(self, test_size: float, seed: int) -> Mapping[str, "Table"]:
        """Cut the last rows off."""
        del seed
        cut = len(self) - max(1, round(test_size * len(self)))
        return {"train": Table(self[:cut]), "test": Table(self[cut:])}


def table(path: Path) -> Table:
    """Return the rows of a task under the names that GSM8K gives them."""
    return Table({"question": row.prompt, "answer": row.answer} for row in read_task(path).rows)


def published(clone: Path, rows: Mapping[str, Table]) -> Any:
    """Import the published script with our rows in place of the hub's."""
    library: Any = types.ModuleType("datasets")
    library.load_dataset = lambda *asked, **more: rows
    sys.modules["datasets"] = library
    sys.path.insert(0, str(clone))
    import dataset.math_datasets as prompts
    import training_scripts.math_training_trap2 as script

    prompts.PROMPT_TEMPLATES["gsm8k"] = "{question}"
    return script


def main() -> None:
    """Train and keep the adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clone", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--strength", type=float, default=0.01, help="lambda; the default is the published one")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    assets = zoo.demo_assets()
    rows = {"train": table(assets.task_a.train), "test": Table(table(assets.task_a.test)[:4])}
    script = published(given.clone.resolve(), rows)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(given.seed)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as work:
        script.main(argparse.Namespace(
            task="gsm8k", model=str(assets.base), save_dir=work, batch_size=4, grad_accum_steps=1, lr=given.rate,
            max_steps=given.steps, eval_steps=max(1, given.steps // 6), max_length=512, max_new_tokens=4, lora_r=16,
            lora_alpha=16, use_dora=False, rand_alpha_min=0.05, rand_alpha_max=2.0, rand_alpha_weight="inv_sqrt",
            lambda_reg=given.strength, max_grad_norm=1.0, alpha_sweep=False,
        ))  # fmt: skip
        shutil.move(next(Path(work).iterdir()), given.out)
    say(f"{given.out}: {time.process_time() - started:.0f} CPU s")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
