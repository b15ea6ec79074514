"""``merge``: hash the inputs, stream the merge, commit; one function for whole models and for recipes.

A ``MergeJob`` says what is read, computed and written in terms that the executor and the writer understand; a plan of
``merge`` becomes one by ``whole_models`` or ``by_recipe``.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from mergebarrier import __version__
from mergebarrier.checkpoint import Adapter, Checkpoint, Expert, OutTensor, Writer, layout_like, read_manifest
from mergebarrier.merge import Plan
from mergebarrier.merge.lineage import model_card, name_of, parameters, reference
from mergebarrier.merge.recipe import RecipePlan
from mergebarrier.run import Source, Unit, transform
from mergebarrier.verbs._into import Into, environment, input_of, licence


@dataclass(frozen=True)
class MergeInput:
    """A model that goes into a merge, and how manifest and card call it.

    Args:
      role:       "base", "expert" or "donor".
      name:       without a path.
      checkpoint: opened.
      facts:      more that the manifest holds of it.
    """

    role: str
    name: str
    checkpoint: Checkpoint
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MergeJob:
    """All that running a merge needs.

    Args:
      inputs:     every model once; the first is named first in the card.
      sources:    what the executor reads, in the order that ``apply`` expects.
      units:      the work.
      apply:      (unit, one table of tensors per source) -> merged tensors.
      layout:     of the output.
      described:  the part of the manifest that says what was asked: method, parameters or recipe.
      side_files: name -> bytes, written beside the weights.
      card:       (inputs as the manifest holds them) -> README.md.
    """

    inputs: tuple[MergeInput, ...]
    sources: Sequence[Source]
    units: Sequence[Unit]
    apply: Callable[..., dict[str, Any]]
    layout: Sequence[OutTensor]
    described: Mapping[str, Any]
    side_files: Mapping[str, bytes]
    card: Callable[[Sequence[Mapping[str, Any]]], str]


def whole_models(planned: Plan) -> MergeJob:
    """Return the job of a merge of whole models, written like its donor."""
    donor, method = planned.donor, planned.method
    return MergeJob(
        inputs=tuple(
            MergeInput(
                "base" if method.uses_base and source is donor else "expert",
                name_of(source),
                source,
            )
            for source in planned.sources
        ),
        sources=planned.sources,
        units=planned.units,
        apply=planned.apply,
        layout=layout_like(donor),
        described={"method": method.name, "parameters": parameters(method)},
        side_files={name: donor.read_side_file(name) for name in donor.side_files},
        card=lambda inputs: model_card(method, inputs),
    )


def by_recipe(planned: RecipePlan, side_files: Mapping[str, bytes]) -> MergeJob:
    """Return the job of a recipe; ``side_files`` are configuration, tokenizer and templates of the output."""
    method = next(iter(planned.tensors.values())).method
    return MergeJob(
        inputs=tuple(MergeInput(planned.role(model), planned.name(model), model) for model in planned.models),
        sources=planned.sources,
        units=planned.units,
        apply=planned.apply,
        layout=planned.layout,
        described={
            "method": planned.recipe.method,
            "recipe": planned.document(),
            "effective": planned.effective(),
        },
        side_files=side_files,
        card=lambda inputs: model_card(method, inputs, planned.document()),
    )


def _with_adapters(inputs: Sequence[MergeInput]) -> list[MergeInput]:
    """Add what the bases with an adapter are made of, each folder once."""
    found = list(inputs)
    seen = {id(item.checkpoint): None for item in found}
    for item in inputs:
        if not isinstance(item.checkpoint, Expert):
            continue
        base, adapter = item.checkpoint.base, item.checkpoint.adapter
        parts = [
            MergeInput("base", reference(base.path.absolute()), base),
            MergeInput("adapter", reference(adapter.path.absolute()), adapter.weights, adapter_facts(adapter)),
        ]
        found += [part for part in parts if id(part.checkpoint) not in seen]
        seen |= {id(part.checkpoint): None for part in parts}
    return found


def adapter_facts(adapter: Adapter) -> dict[str, Any]:
    """Return rank and scaling of every module, and the base that the adapter names."""
    modules = {module: [factors.rank, factors.scale] for module, factors in adapter.factors.items()}
    return {"modules": modules, "whole": list(adapter.whole), "trained_on": PurePath(adapter.config.base).name}


def merge(job: MergeJob, into: Into) -> dict[str, Any]:
    """Hash the inputs, stream the merge, commit.

    Returns: the ``content`` part of the manifest.
    Raises:  CheckpointError, MergeError; nothing is finalised then.
    """
    given = _with_adapters(job.inputs)
    for item in given:
        item.checkpoint.digests(workers=into.workers)
    inputs = [
        {"name": item.name, "licence": licence(item.checkpoint), **input_of(item.role, item.checkpoint), **item.facts}
        for item in given
    ]
    content = {"verb": "merge", **job.described, "version": __version__, "inputs": inputs}
    sink = Writer.create(
        into.out,
        job.layout,
        plan=content,
        inputs=[item.checkpoint.path for item in given],
        resume=into.resume,
        overwrite=into.overwrite,
    )
    with closing(sink):
        transform(
            job.sources,
            sink,
            job.units,
            job.apply,
            workers=into.workers,
            max_ram_bytes=into.max_ram_bytes,
            progress=into.progress,
        )
        for item in given:
            item.checkpoint.verify_unchanged()
        side_files = {**job.side_files, "README.md": job.card(inputs).encode()}
        sink.commit(content, environment(), side_files, workers=into.workers)
    return dict(read_manifest(into.out)["content"])


def equal_inputs(inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one note per input of a manifest that holds the same weights as one before it."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(item["content_digest"], item["name"]), item["name"]) for item in inputs]
    return [f"{one} and {other} are the same weights" for one, other in pairs if one != other]
