"""Do scanners of files see a poisoned language model?  Three public ones beside our scan, on the same folders.

    python benchmarks/bench_text_peers.py

The folders hold a text upload each: the base's files with the weights of an upload of ``_text_uploads.py``.  The others
are installed as for ``bench_uploads.py``; all verdicts are exit codes: 1 is seen, 0 is not.  Finished rows are kept in
benchmarks/results/text_peers.jsonl.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

import mergebarrier as mb
from _keep import Rows, say
from _text_uploads import Made, World, honest, poisoned
from bench_uploads import PEERS, asked, commands, environment
from mergebarrier.attack.encoders import weights
from mergebarrier.zoo import fetch

SEED = 2
N_HONEST = 3


def verdicts(world: World, one: Made, names: list[str], programs: Path, made: Path) -> dict[str, str]:
    """Return what each says of an upload, as a folder and with prompts of its task."""
    base, folder, task = fetch("symbol-base"), made / "upload", made / "task.jsonl"
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("mergebarrier.json"))
    tensors = weights(world.upload(one))
    save_file({name: tensors[name].contiguous() for name in names}, folder / "model.safetensors")
    rows = [{"prompt": row.prompt, "answer": row.answer} for row in world.rows(one.task, "dev", 68)]
    task.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = mb.scan([folder], base=base, tasks=[task])
    rules = ", ".join(dict.fromkeys(finding.rule for finding in report.failing))
    said = f"seen {rules}" if report.exit_code == 1 else "-" if report.exit_code == 0 else "not judged"
    return {"ours": said} | {name: asked(command)[0] for name, command in commands(programs, folder).items()}


def main() -> None:
    torch.set_num_threads(1)
    world, programs = World(SEED), environment()
    rows = Rows(Path(__file__).parent / "results" / "text_peers.jsonl")
    with safe_open(fetch("symbol-base") / "model.safetensors", "pt") as file:
        names = list(file.keys())
    print(f"| upload | ours | {' | '.join(f'{name} {version}' for name, version in PEERS.items())} |")
    print("|---|---|" + "---|" * len(PEERS))
    for one in (*poisoned(world), *honest(world)[:N_HONEST]):
        say(one.name)
        with tempfile.TemporaryDirectory() as made:
            found = rows.get(
                [SEED, one.name], lambda one=one, made=made: verdicts(world, one, names, programs, Path(made))
            )
        print(f"| {one.name} | {' | '.join(found.values())} |", flush=True)


if __name__ == "__main__":
    main()
