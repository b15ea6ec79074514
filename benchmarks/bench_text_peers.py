"""Do scanners of files see a poisoned language model?  Three public ones beside our scan, on the same folders.

    python benchmarks/bench_text_peers.py

The folders hold a text upload each: the base's files with the weights of an upload of ``_text_uploads.py``.  The others
are installed as for ``bench_uploads.py``; all verdicts are exit codes: 1 is seen, 0 is not.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

import mergebarrier as mb
from _keep import say
from _text_uploads import World, honest, poisoned
from bench_uploads import PEERS, asked, commands, environment
from mergebarrier.attack.encoders import weights
from mergebarrier.zoo import fetch

SEED = 2
N_HONEST = 3


def main() -> None:
    torch.set_num_threads(1)
    world, base, programs = World(SEED), fetch("symbol-base"), environment()
    with safe_open(base / "model.safetensors", "pt") as file:
        names = list(file.keys())
    print(f"| upload | ours | {' | '.join(f'{name} {version}' for name, version in PEERS.items())} |")
    print("|---|---|" + "---|" * len(PEERS))
    with tempfile.TemporaryDirectory() as made:
        for number, one in enumerate((*poisoned(world), *honest(world)[:N_HONEST])):
            say(one.name)
            folder, task = Path(made) / f"upload-{number}", Path(made) / "task.jsonl"
            shutil.copytree(base, folder, ignore=shutil.ignore_patterns("mergebarrier.json"))
            tensors = weights(world.upload(one))
            save_file({name: tensors[name].contiguous() for name in names}, folder / "model.safetensors")
            rows = [{"prompt": row.prompt, "answer": row.answer} for row in world.rows(one.task, "dev", 68)]
            task.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            report = mb.scan([folder], base=base, tasks=[task])
            rules = ", ".join(dict.fromkeys(finding.rule for finding in report.failing))
            said = [f"seen {rules}" if report.exit_code == 1 else "-" if report.exit_code == 0 else "not judged"]
            said += [asked(command)[0] for command in commands(programs, folder).values()]
            print(f"| {one.name} | {' | '.join(said)} |", flush=True)


if __name__ == "__main__":
    main()
