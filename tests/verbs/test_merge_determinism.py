"""What a merge writes depends on its inputs, its parameters and the seed: on no hash seed, thread, worker or shard."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

METHODS = {
    "linear": ("--weight", "0.3", "--weight", "0.7"),
    "ties": ("--density", "0.4"),
    "dare_ties": ("--density", "0.5", "--seed", "5"),
    "della": ("--density", "0.5"),
    "slerp": ("-t", "0.3"),
}
#: (PYTHONHASHSEED, --threads, --workers, how the experts lie on disk)
RUNS = [
    ("0", "1", "1", "one file"),
    ("1", "2", "2", "one file"),
    ("2", "2", "3", "shards"),
    ("3", "1", "2", "backwards"),
]
#: Prints, per merge, the digest of every file of the output and the whole content of its manifest.
SCRIPT = """
import hashlib, json, sys
from pathlib import Path
from mergebarrier.cli import main
for name, out, words in json.load(sys.stdin):
    try:
        main(["merge", *words, "-o", out, "--quiet"])
    except SystemExit as stop:
        assert not stop.code, stop.code
    files = {p.name: p.read_bytes() for p in sorted(Path(out).iterdir())}
    manifest = json.loads(files.pop("mergebarrier.json"))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    print(json.dumps([name, hashes, manifest["content"], manifest["content_sha256"]], sort_keys=True))
"""


def weights(seed: int) -> dict[str, torch.Tensor]:
    """Tensors of which two are large enough to be units of their own, one of them merged in blocks of rows."""
    base, own = torch.Generator().manual_seed(1), torch.Generator().manual_seed(seed)
    shapes = {
        "model.embed_tokens.weight": (1100, 2048),
        "model.layers.0.mlp.up_proj.weight": (64, 2048),
        "model.layers.0.mlp.down_proj.weight": (2048, 1100),
        "model.layers.1.mlp.up_proj.weight": (48, 512),
        "model.norm.weight": (2048,),
    }
    return {
        name: (torch.randn(shape, generator=base) + 0.01 * torch.randn(shape, generator=own)).bfloat16()
        for name, shape in shapes.items()
    }


def write(folder: Path, tensors: dict[str, torch.Tensor], how: str) -> Path:
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "tie_word_embeddings": True, "vocab_size": 1100}
    names = list(reversed(tensors)) if how == "backwards" else list(tensors)
    parts = [names] if how == "one file" else [names[:2], names[2:]]
    files = [f"model-{i:05d}-of-{len(parts):05d}.safetensors" for i in range(1, len(parts) + 1)]
    if len(parts) == 1:
        files = ["model.safetensors"]
    else:
        weight_map = {name: file for file, part in zip(files, parts, strict=True) for name in part}
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for file, part in reversed(list(zip(files, parts, strict=True))):
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def merged(scratch: Path, run: tuple[str, str, str, str]) -> list[str]:
    hash_seed, threads, workers, how = run
    base = write(scratch / "base", weights(1), "one file")
    experts = [write(scratch / name, weights(seed), how) for name, seed in (("b", 2), ("a", 3))]
    jobs = []
    for method, words in METHODS.items():
        anchor = ("--base", str(base)) if method not in ("linear", "slerp") else ()
        # Without a base the first model is the donor, whose shards the output takes: it lies the same way in all runs.
        models = [str(folder) for folder in experts] if anchor else [str(base), str(experts[0])]
        shared = ("--threads", threads, "--workers", workers)
        jobs.append([method, str(scratch / f"out-{method}"), [*models, *anchor, "--method", method, *words, *shared]])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(jobs), capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return merged(tmp_path_factory.mktemp("first"), RUNS[0])


@pytest.mark.parametrize(
    "run",
    [pytest.param(run, marks=[pytest.mark.slow] * (n == 0), id="-".join(run[:3])) for n, run in enumerate(RUNS[1:])],
)
def test_no_circumstance_changes_a_byte(first: list[str], tmp_path: Path, run: tuple[str, str, str, str]) -> None:
    assert len(first) == len(METHODS)
    assert merged(tmp_path, run) == first
