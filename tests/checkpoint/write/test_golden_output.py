"""The bytes of an output, fixed for ever: a change needs a new version of the format and a line in the changelog."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import torch

from mergebarrier.checkpoint import Writer, layout_like, open_checkpoint, read_manifest
from mergebarrier.checkpoint.write import layout
from model_folders import write_folder

GOLDEN = Path(__file__).parents[2] / "golden"


def golden_tensors() -> dict[str, torch.Tensor]:
    """Values that no random generator decides."""
    steps = torch.arange(96, dtype=torch.float64) / 64 - 0.75
    return {
        "model.embed_tokens.weight": steps.reshape(12, 8).to(torch.bfloat16),
        "model.layers.0.mlp.up_proj.weight": steps[:40].reshape(5, 8).to(torch.float16),
        "model.norm.weight": steps[:8].to(torch.float32),
        "model.step": torch.tensor(7, dtype=torch.int64),
        "model.mask": torch.tensor([True, False, True]),
    }


def write_golden(work: Path) -> Path:
    """Copy the golden model through reader and writer; returns the output folder."""
    tensors = golden_tensors()
    names = list(tensors)
    source = write_folder(work / "model", tensors, shards=[names[:2], names[2:]])
    with open_checkpoint(source) as checkpoint, mock.patch.object(layout, "__version__", "golden"):
        plan = {"input": checkpoint.content_digest(), "method": "copy"}
        writer = Writer.create(work / "out", layout_like(checkpoint), plan=plan, inputs=[source])
        for name in checkpoint.tensors:
            writer.put(name, checkpoint.read(name))
            writer.finish(name, [name])
        content = {"tool": {"name": "mergebarrier", "version": "golden"}, "verb": "copy", "seed": 0}
        side_files = {name: checkpoint.read_side_file(name) for name in checkpoint.side_files}
        return writer.commit(content, {"threads": 1}, side_files)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_every_file_of_an_output_has_its_golden_bytes(tmp_path: Path) -> None:
    assert digests(write_golden(tmp_path)) == json.loads((GOLDEN / "checkpoint_v1.json").read_text())


def test_the_manifest_of_version_one_is_readable_for_ever(tmp_path: Path) -> None:
    (tmp_path / "mergebarrier.json").write_bytes((GOLDEN / "manifest_v1.json").read_bytes())
    content = read_manifest(tmp_path)["content"]
    assert content["schema_version"] == 1 and content["verb"] == "copy"
    assert content["output"]["tensors"].keys() == golden_tensors().keys()


def test_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    script = "import sys, pathlib, test_golden_output as g; print(g.digests(g.write_golden(pathlib.Path(sys.argv[1]))))"
    here, helpers = Path(__file__).parent, Path(__file__).parents[2] / "helpers"
    processes = []
    for seed in ("0", "1"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": f"{here}{os.pathsep}{helpers}"}
        command = [sys.executable, "-c", script, str(tmp_path / seed)]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    printed = {process.communicate()[0] for process in processes}
    assert printed == {f"{json.loads((GOLDEN / 'checkpoint_v1.json').read_text())}\n"}
