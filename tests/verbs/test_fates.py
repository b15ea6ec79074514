"""Conservation of tensors, over 1,200 random models: the written manifest says of each tensor what became of it.

Bodies are dense, sparse, hybrid (linear attention), with a tower or with convolutions; models have heads, layers for
multi-token prediction, buffers and spellings of their own.
"""

import json
import random
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mergebarrier.checkpoint import Checkpoint, open_checkpoint, read_manifest
from mergebarrier.errors import MergebarrierError, TensorSetMismatch
from mergebarrier.merge import make, plan
from mergebarrier.verbs import Checks, OutputOptions
from mergebarrier.verbs import merge as write_merge
from mergebarrier.verbs.job import whole_models

_WIDTH, _EXPERTS, _LAYERS = 2, 2, 2
_METHODS = ("linear", "task_arithmetic", "ties", "dare_ties", "slerp", "magmax", "model_stock")
_LINEAR_ATTENTION = ("linear_attn.A_log", "linear_attn.conv1d.weight", "linear_attn.in_proj.weight")
_SOFTMAX = ("self_attn.q_proj.weight", "self_attn.o_proj.weight")


def body(draw: random.Random) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a random body: dense or with experts, hybrid or not, with a tower or without."""
    shapes = {"model.embed_tokens.weight": (4, _WIDTH), "model.norm.weight": (_WIDTH,)}
    sparse, hybrid, tower, convolutions = (draw.random() < share for share in (0.3, 0.4, 0.3, 0.2))
    for layer in range(_LAYERS):
        kind = _LINEAR_ATTENTION if hybrid and layer % 2 else _SOFTMAX
        shapes |= {f"model.layers.{layer}.{name}": (_WIDTH, _WIDTH) for name in kind}
        if sparse:
            stem = f"model.layers.{layer}.mlp.experts"
            shapes |= {
                f"{stem}.{e}.{name}.weight": (_WIDTH, _WIDTH)
                for e in range(_EXPERTS)
                for name in ("gate_proj", "up_proj", "down_proj")
            }
        else:
            shapes[f"model.layers.{layer}.mlp.up_proj.weight"] = (_WIDTH, _WIDTH)
    if tower:
        shapes |= {f"vision_tower.encoder.layers.{layer}.fc1.weight": (_WIDTH, _WIDTH) for layer in range(_LAYERS)}
    if convolutions:
        stem = "model.stages.0.normalization"
        shapes |= {f"{stem}.{name}": (_WIDTH,) for name in ("weight", "running_mean", "running_var")}
        shapes[f"{stem}.num_batches_tracked"] = ()
    return shapes


def spelled(draw: random.Random, shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """One model of such a body as somebody might have saved it, with heads and buffers of its own."""
    generator = torch.Generator().manual_seed(seed)

    def made(name: str, shape: tuple[int, ...]) -> Tensor:
        return torch.tensor(seed) if name.endswith("tracked") else torch.rand(shape, generator=generator) + 0.5

    tensors = {name: made(name, shape) for name, shape in shapes.items()}
    if draw.random() < 0.3:
        for layer in range(_LAYERS):
            stem = f"model.layers.{layer}.mlp.experts"
            if f"{stem}.0.up_proj.weight" in tensors:
                words = ("gate_proj", "up_proj"), ("down_proj",)
                for fused, parts in zip(("gate_up_proj", "down_proj"), words, strict=True):
                    rows = [
                        torch.cat([tensors.pop(f"{stem}.{e}.{word}.weight") for word in parts]) for e in range(_EXPERTS)
                    ]
                    tensors[f"{stem}.{fused}"] = torch.stack(rows)
    more: dict[str, tuple[int, ...]] = {
        "lm_head.weight": (4, _WIDTH),
        "score.weight": (2, _WIDTH),
        "v_head.summary.weight": (1, _WIDTH),
        "mtp.layers.0.fc.weight": (_WIDTH, _WIDTH),
        f"model.layers.{_LAYERS}.eh_proj.weight": (_WIDTH, _WIDTH),
        "model.layers.0.self_attn.rotary_emb.inv_freq": (1,),
        "model.position_ids": (1, 3),
    }
    tensors |= {name: made(name, shape) for name, shape in more.items() if draw.random() < 0.25}
    if draw.random() < 0.2:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    if draw.random() < 0.2:
        return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    return {name.replace("vision_tower.", "model.vision_tower."): tensor for name, tensor in tensors.items()}


def _saved(folder: Path, tensors: dict[str, Tensor], *, tied: bool) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "made_up", "num_hidden_layers": _LAYERS, "tie_word_embeddings": tied}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _is_body(name: str) -> bool:
    heads = ("lm_head", "score", "v_head", "mtp", "eh_proj", "inv_freq", "position_ids", "running", "tracked")
    return not any(word in name for word in heads)


@pytest.mark.parametrize("cases", [range(24), pytest.param(range(24, 400), marks=pytest.mark.slow)], ids=len)
def test_a_merge_accounts_for_every_tensor_of_every_input(cases, tmp_path) -> None:
    merged = refused = 0
    for case in cases:
        draw = random.Random(case)
        shapes, tied, missing = body(draw), draw.random() < 0.5, draw.random() < 0.2
        models = [spelled(draw, shapes, case * 3 + i) for i in range(3)]
        incomplete = draw.random() < 0.15
        if incomplete:
            lacking = models[draw.randrange(3)]
            lacking.pop(draw.choice([name for name in lacking if _is_body(name)]))
        folders = [_saved(tmp_path / f"{case}-{i}", tensors, tied=tied) for i, tensors in enumerate(models)]
        method = _method(draw)
        used = models if method.uses_base else models[1:]
        with ExitStack() as stack:
            base, *experts = [stack.enter_context(open_checkpoint(folder)) for folder in folders]
            try:
                planned = plan(
                    method, base if method.uses_base else None, experts, missing=missing, keep=draw.random() < 0.3
                )
            except MergebarrierError as fault:
                assert isinstance(fault, TensorSetMismatch), fault
                assert incomplete or any("lm_head.weight" in tensors for tensors in used), (case, fault)
                refused += 1
                continue
            assert not (incomplete and any(lacking is tensors for tensors in used) and not missing), (
                case,
                planned.notes,
            )
            merged += 1
            _check(planned, tmp_path / f"{case}-out")
        for folder in (*folders, tmp_path / f"{case}-out"):
            shutil.rmtree(folder)
    assert merged > len(cases) * 0.4 and refused > len(cases) * 0.1, (merged, refused)


def _method(draw: random.Random):
    name = draw.choice(_METHODS)
    return make(name, **({"t": 0.5} if name == "slerp" else {}))


def _check(planned, out: Path) -> None:
    """Write a merge, and hold what its manifest says of every input against the files."""
    job = whole_models(planned)
    write_merge(job, OutputOptions(out), Checks())
    content: Mapping[str, Any] = read_manifest(out)["content"]
    assert len(content["inputs"]) == len(job.inputs)
    for item, said in zip(job.inputs, content["inputs"], strict=True):
        stored, fate = item.checkpoint.as_stored(), said["fate"]
        named = [*fate["averaged"], *fate["renamed"], *fate["copied"], *chain(*fate["left_out"].values())]
        assert len(named) == len(set(named)) and set(named) <= stored.tensors.keys() == said["tensors"].keys()
        assert fate["merged"] + len(named) == len(stored.tensors)
        lost = [name for names in fate["left_out"].values() for name in names if _is_body(name)]
        assert not lost, (fate, lost)
        assert set(chain(*fate["renamed"].values())) <= content["output"]["tensors"].keys()
        _check_said(planned, item.checkpoint, fate)
    with open_checkpoint(out) as written:
        assert written.tensors.keys() == content["output"]["tensors"].keys()
        assert all((written.read(name) > 0).all() for name in written.tensors if name.endswith("running_var"))


def _check_said(planned, model: Checkpoint, fate) -> None:
    """A weight that is left out is named in a note, or counted in one."""
    weights = [
        name
        for names in fate["left_out"].values()
        for name in names
        if model.as_stored().tensors[name].role == "weight"
    ]
    assert not weights or any("left out" in note for note in planned.notes), (planned.notes, weights)
