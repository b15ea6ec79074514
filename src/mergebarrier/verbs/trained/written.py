"""What a training publishes: a model folder like the expert's, or an adapter that peft loads; with a card of figures.

model      the expert's tensors, those that were trained in their place, each rounded once to its stored dtype
adapter    lora_A, lora_B in float32 with lora_alpha = r, so that the update is B A
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from mergebarrier import __version__
from mergebarrier.checkpoint import (
    ADAPTER_WEIGHTS,
    OutTensor,
    Writer,
    layout_like,
    read_manifest,
    sharded,
)
from mergebarrier.checkpoint.bytes import content_digest
from mergebarrier.checkpoint.files import OWNERS_COLUMNS, owners_rows
from mergebarrier.errors import UsageError
from mergebarrier.lineage import CARD
from mergebarrier.merge.adapters import dump, factor_names
from mergebarrier.verbs.folders import carried, environment, parts_of

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import AnyContent, ProtectFacts, TrainedFigures
    from mergebarrier.verbs.trained.models import TrainedModels

_SECTION: Final = """\
## Protection against merging

These weights were trained by MergeBarrier {version} (method `{method}`) to be good as they are and bad in a merge.
{limit} There is no key: nothing gives the expert back that this was made from, and its owner keeps it.

{figures}

What was done stands in `mergebarrier.json`; the content digest (SHA-256) of the weights is `{digest}`. How much of a
merge an attacker recovers is measured by `mergebarrier audit`, and claimed by no line of this card."""


def layout(models: "TrainedModels", ranks: Mapping[str, int] | None, most: int | None) -> tuple[OutTensor, ...]:
    """Return the layout of the expert, or, given ranks, that of an adapter, A before B; UsageError for its size."""
    if ranks is None:
        return sharded(layout_like(models.expert), most)
    if most is not None:
        raise UsageError("an adapter is one file", where="--max-shard-size", remedy="leave it out")
    found = []
    for name, rank in ranks.items():
        module, turned = models.modules[name]
        rows, columns = models.tau[name].shape
        outs, ins = (columns, rows) if turned else (rows, columns)
        name_a, name_b = factor_names(module, embedding=False)
        found += [
            OutTensor(name_a, "F32", (rank, ins), ADAPTER_WEIGHTS),
            OutTensor(name_b, "F32", (outs, rank), ADAPTER_WEIGHTS),
        ]
    return tuple(found)


def adapter_tensors(
    models: "TrainedModels", factors: Mapping[str, tuple[Tensor, Tensor]]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an adapter; a map that is stored (in, out) has them the other way round."""
    for name, (b, a) in factors.items():
        module, turned = models.modules[name]
        name_a, name_b = factor_names(module, embedding=False)
        yield name_a, (b.T if turned else a).cpu().contiguous()
        yield name_b, (a.T if turned else b).cpu().contiguous()


def adapter_config(models: "TrainedModels", ranks: Mapping[str, int]) -> bytes:
    """Return ``adapter_config.json``."""
    chosen = [models.modules[name] for name in ranks]
    rank = max(ranks.values())
    return dump({
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION" if "vision" in str(models.base.config.get("model_type")) else "CAUSAL_LM",
        "base_model_name_or_path": models.base.name,
        "r": rank,
        "lora_alpha": rank,
        "use_rslora": False,
        "fan_in_fan_out": any(turned for _, turned in chosen),
        "target_modules": [module for module, _ in chosen],
        "bias": "none",
        "lora_dropout": 0.0,
        "init_lora_weights": True,
        "inference_mode": True,
    })  # fmt: skip


@torch.no_grad()
def model_tensors(models: "TrainedModels", tau: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a whole model."""
    for name in models.expert.tensors:
        stored = models.expert.read(name)
        if name in tau:
            stored = (models.base.read(name).float() + tau[name].cpu()).to(stored.dtype)
        yield name, stored


def write(
    writer: Writer,
    tensors: Iterator[tuple[str, Tensor]],
    models: "TrainedModels",
    facts: "ProtectFacts",
    limit: str,
    side_files: Mapping[str, bytes],
) -> "AnyContent":
    """Write tensors, card and manifest; return the content of the manifest."""
    with closing(writer):
        for name, tensor in tensors:
            if not writer.done(name):
                writer.put(name, tensor)
                writer.finish(name, (name,))
        section = _SECTION.format(
            version=__version__,
            method=facts["method"],
            limit=limit,
            figures=table(facts["trained"]),
            digest=content_digest(writer.digests),
        )
        writer.commit(facts, environment(), carried(facts, side_files, section))
    return read_manifest(writer.place.out, ours=True)["content"]


def side_files_of(models: "TrainedModels", *, adapter: bool) -> dict[str, bytes]:
    """Return what the expert has beside its weights: all of it, or the card of an adapter alone."""
    if not adapter:
        return {name: models.expert.read_side_file(name) for name in models.expert.side_files}
    own = parts_of(models.expert)[-1]
    return {name: own.read_side_file(name) for name in own.side_files if name == CARD}


def table(found: "TrainedFigures") -> str:
    """Return the figures for people, as Markdown."""
    lines = [
        f"| owner's figures | {' | '.join(OWNERS_COLUMNS.values())} |",
        "|---|---|---|---|",
        *(
            f"| {said} | {' | '.join(f'{values[name]:.3f}' if name in values else '-' for name in OWNERS_COLUMNS)} |"
            for said, values in owners_rows(found)
        ),
    ]
    alike = ", ".join(f"{share:.3f} of {part}" for part, share in found["override"].items())
    work = found["work"]
    return "\n".join([
        *lines,
        "",
        f"Answered as the expert does, with no merge: {alike}. Work of the protector: {work['steps']} steps, "
        f"{work['tokens_learned']:,} tokens learned from, about {work['flops']:.1e} FLOP. The control was trained for "
        "as many steps on the same rows without the protecting term.",
        *(f"Taken of {name}: {value:g}; what was asked would have left the budget."
          for name, value in found.get("taken", {}).items()),
        *(f"As {name}: loss {cost['loss']:.3f}, right {cost['right']:.3f}." for name, cost in found["forms"].items()),
    ])  # fmt: skip
