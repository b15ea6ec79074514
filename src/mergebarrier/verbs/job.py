"""``merge``: judge the inputs, stream the merge, hash what it reads, check it, commit; one function for every form.

A ``MergeJob`` says what is read, computed and written in terms that the executor and the writer understand; a plan of
``merge`` becomes one by ``whole_models`` or ``by_recipe``.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from mergebarrier import __version__
from mergebarrier.checkpoint import (
    BLAKE3,
    MANIFEST_NAME,
    AdaptedCheckpoint,
    Adapter,
    Checkpoint,
    OutTensor,
    Writer,
    layout_like,
    read_manifest,
)
from mergebarrier.errors import OutputExists, unique
from mergebarrier.lineage import Find, made_before, model_card
from mergebarrier.merge import MergeUnit, Plan, computed_on, parameters
from mergebarrier.merge.recipe import RecipePlan
from mergebarrier.progress import Progress
from mergebarrier.run import Change, Source, one_thread_kernels, transform
from mergebarrier.verbs.checks import Checks, MergeInput, check_merged, check_runnable
from mergebarrier.verbs.folders import OutputOptions, environment, hashed
from mergebarrier.verbs.inputs import InputRecordingSink, Judged, fates, judge, licence_files, relatives

_NOTHING_MORE = Checks()


@dataclass(frozen=True)
class MergeJob:
    """All that running a merge needs.

    Args:
      inputs:     every model once; the first is named first in the card.
      sources:    what the executor reads, in the order that ``apply`` expects.
      units:      the work.
      apply:      after whatever must be known of the whole model: (unit, one table of tensors per source) -> merged.
      layout:     of the output.
      request:    the part of the manifest that says what was asked: method, parameters or recipe.
      side_files: name -> bytes, more files of the folder.
      card:       (content of the manifest, without the output) -> README.md.
      anchor:     the base that the experts are compared with, where the method itself uses none.
      measured:   what the merge itself found, in place of a look at the output as a model.
      whole:      a unit depends on the whole inputs, not on its own tensors alone.
      beside:     further folders that must not be written into.
      facts:      what a dry run says: sources, counts, bytes, files.
      notes:      what the plan found worth saying, one line each.
      uses:       tensor of the output -> the (model, name there) that it is made of, the donor first.
      copied:     tensors of the output that are the donor's as they are.
      find:       where the folder of a parent is that a card names; its owner is asked too.
      learn:      for a method that learns: (progress) -> the job with what was learned; called once the inputs are
                  judged, since a merge that an owner forbids is not learned first.
    """

    inputs: tuple[MergeInput, ...]
    sources: Sequence[Source]
    units: Sequence[MergeUnit]
    apply: Callable[[], Change[MergeUnit]]
    layout: Sequence[OutTensor]
    request: Mapping[str, object]
    side_files: Mapping[str, bytes]
    card: Callable[[Mapping[str, object]], str] = model_card
    anchor: Checkpoint | None = None
    measured: Callable[[], dict[str, Any]] | None = None
    whole: bool = False
    beside: tuple[Path, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    uses: Mapping[str, Sequence[tuple[Checkpoint, str]]] = field(default_factory=dict)
    copied: Collection[str] = frozenset()
    find: Find = lambda name: None
    learn: "Callable[[Progress | None], MergeJob] | None" = None


def whole_models(planned: Plan, anchor: Checkpoint | None = None) -> MergeJob:
    """Return the job of a merge of whole models, written like its donor."""
    donor, method = planned.donor, planned.method
    names = unique([source.name for source in planned.sources])
    return MergeJob(
        inputs=tuple(
            MergeInput("base" if method.uses_base and source is donor else "expert", name, source)
            for name, source in zip(names, planned.sources, strict=True)
        ),
        sources=planned.sources,
        units=planned.units,
        apply=lambda: planned.surveyed().change,
        whole=method.reads > 1,
        layout=layout_like(donor),
        request={"method": method.name, "parameters": parameters(method), **computed_on(planned.device)},
        side_files={name: donor.read_side_file(name) for name in donor.side_files},
        anchor=anchor,
        notes=tuple(planned.notes),
        uses={name: [(source, name) for source in planned.sources_of(name)] for name in donor.tensors},
        copied=planned.copied,
        facts={
            "method": method.name,
            "parameters": parameters(method),
            "sources": [source.name for source in planned.sources],
            "need": method.need,
            "tensors": len(donor.tensors),
            "units": len(planned.units),
            "bytes_read": sum(info.nbytes for source in planned.sources for info in source.tensors.values()),
            "bytes_written": sum(info.nbytes for info in donor.tensors.values()),
            "files": [shard.name for shard in donor.shards],
        },
    )


def by_recipe(planned: RecipePlan, side_files: Mapping[str, bytes], anchor: Checkpoint | None = None) -> MergeJob:
    """Return the job of a recipe; ``side_files`` are configuration, tokenizer and templates of the output."""
    return MergeJob(
        inputs=tuple(MergeInput(planned.role(model), planned.name(model), model) for model in planned.models),
        sources=planned.sources,
        units=planned.units,
        apply=lambda: planned.surveyed().change,
        whole=any(tensor.method.reads > 1 for tensor in planned.tensors.values()),
        layout=planned.layout,
        request=manifest_request(planned),
        side_files=side_files,
        anchor=anchor,
        notes=tuple(planned.notes),
        uses={
            name: [(item.model, item.name) for item in tensor.target.inputs] for name, tensor in planned.tensors.items()
        },
        copied=frozenset(name for name, tensor in planned.tensors.items() if tensor.copied),
        facts={
            "method": planned.recipe.method,
            "recipe": planned.document(),
            "sources": [planned.names[reference] for reference in planned.recipe.references()],
            "tensors": len(planned.layout),
            "units": len(planned.units),
            "bytes_read": sum(info.nbytes for view in planned.sources for info in view.tensors.values()),
            "bytes_written": sum(tensor.nbytes for tensor in planned.layout),
            "files": list(dict.fromkeys(tensor.shard for tensor in planned.layout)),
        },
    )


def manifest_request(planned: RecipePlan) -> dict[str, object]:
    """Return the part of the manifest that says what a recipe asked for."""
    return {
        "method": planned.recipe.method,
        "recipe": planned.document(),
        "effective": planned.effective(),
        **computed_on(planned.device),
    }


def _with_adapters(inputs: Sequence[MergeInput]) -> list[MergeInput]:
    """Add what the bases with an adapter are made of, each folder once."""
    found = list(inputs)
    seen = {id(item.checkpoint.as_stored()): None for item in found}
    for item in inputs:
        model = item.checkpoint.as_stored()
        if not isinstance(model, AdaptedCheckpoint):
            continue
        base, adapter = model.base, model.adapter
        parts = [
            MergeInput("base", base.name, base),
            MergeInput("adapter", adapter.name, adapter.weights, adapter_facts(adapter)),
        ]
        found += [part for part in parts if id(part.checkpoint) not in seen]
        seen |= {id(part.checkpoint): None for part in parts}
    return found


def adapter_facts(adapter: Adapter) -> dict[str, object]:
    """Return rank and scaling of every module, or what another kind updates, and the base that the adapter names."""
    kind, modules = adapter.config.kind, {name: [part.rank, part.scale] for name, part in adapter.factors.items()}
    other: dict[str, object] = {} if kind is None else {"peft_type": kind.name, "updated": list(adapter.updates)}
    return {"modules": modules, "whole": list(adapter.whole), "trained_on": _published(adapter.config.base)} | other


def _other_bases(inputs: Sequence[MergeInput]) -> list[str]:
    """Return a warning when adapters name other bases than each other or theirs; they were put on it all the same."""
    named = {item.name: str(item.facts.get("trained_on", "")) for item in inputs}
    said = {name: base for name, base in named.items() if base}
    bases = [item.name for item in inputs if item.role == "base"]
    if len({_last(base) for base in said.values()}) < 2:
        other = {name: base for name, base in said.items() if "/" in base and bases and _last(base) != _last(bases[0])}
        return [f"{name} was trained on {base}, and is put on {bases[0]}" for name, base in other.items()]
    return ["adapters of different bases: " + ", ".join(f"{name} was trained on {base}" for name, base in said.items())]


def _last(name: str) -> str:
    return name.rpartition("/")[2].lower()


def _made(source: Checkpoint) -> Mapping[str, object]:
    return made_before(source) if (source.root / MANIFEST_NAME).exists() else {}


def judged_inputs(job: MergeJob, checks: Checks = _NOTHING_MORE) -> Judged:
    """Return what the inputs of a merge say about themselves, parts of bases with adapters among them.

    Raises: LicenceRefused when one forbids the merge and that is not acknowledged.
    """
    return judge(_with_adapters(job.inputs), acknowledged=checks.acknowledge_licence, find=job.find)


def merge(job: MergeJob, into: OutputOptions, checks: Checks = _NOTHING_MORE) -> dict[str, Any]:
    """Judge the inputs, stream the merge, hashing inputs as they are read, check the output, commit.

    Returns: the ``content`` part of the manifest; ``content["checks"]`` holds "warnings", and "suspect" when the merge
      was run and is far worse than its inputs.
    Raises:  CheckpointError, MergeError (LicenceRefused unless acknowledged); nothing is finalised then.
    """
    judged = judged_inputs(job, checks)
    if job.learn is not None:
        job = job.learn(into.progress)
    given = _with_adapters(job.inputs)
    if checks.runs:
        check_runnable(job.inputs[0].checkpoint)
    for item in given:
        item.checkpoint.stream()
    became = fates([item.checkpoint for item in job.inputs], job.uses, job.copied) if job.uses else []
    more = [{"fate": fate} for fate in became] + [{} for _ in given[len(became) :]]
    known = [
        {"role": item.role, "name": item.name, **said, **item.facts, **fate, **_made(item.checkpoint)}
        for item, said, fate in zip(given, judged.described(), more, strict=True)
    ]
    content: dict[str, Any] = {"verb": "merge", **job.request, "version": __version__, **judged.content()}
    with one_thread_kernels():
        related = relatives(job.inputs, job.anchor)
    writer = Writer.create(
        into.out,
        job.layout,
        plan={**content, "inputs": known},
        inputs=[*(item.checkpoint.path for item in given), *job.beside],
        resume=into.resume,
        overwrite=into.overwrite,
        hashing=BLAKE3,
    )
    with closing(writer):
        with writer.attempt():
            apply = job.apply()
            models = [item.checkpoint.content_digest(hashing=BLAKE3) for item in given] if job.whole else []
            transform(
                job.sources,
                InputRecordingSink(writer, job.sources, models),
                job.units,
                apply,
                workers=into.workers,
                max_ram_bytes=into.max_ram_bytes,
                progress=into.progress,
            )
        inputs = [{**said, **hashed(item.checkpoint, BLAKE3)} for said, item in zip(known, given, strict=True)]
        if writer.finished:
            _check_same(inputs, into)
        for item in given:
            item.checkpoint.verify_unchanged()
        content["inputs"] = inputs
        side_files = licence_files(job.side_files, given, judged)
        if not writer.finished:
            measured = job.measured
            found = measured() if measured else check_merged(job.inputs, job.sources, writer, side_files, checks)
            found["relatives"] = {one.name: one.figures() for one in related}
            remarks = [f"{one.name} {one.remark}" for one in related if one.remark is not None]
            found["warnings"] = [*judged.warnings(), *_other_bases(given), *remarks, *found["warnings"]]
            content["checks"] = found
            side_files["README.md"] = job.card(content).encode()
        writer.commit(content, environment(), side_files, workers=into.workers)
    return dict(read_manifest(into.out, ours=True)["content"])


def _check_same(inputs: Sequence[Mapping[str, Any]], into: OutputOptions) -> None:
    """Refuse to resume a merge that is complete, but of other weights under the same names."""
    made_of = read_manifest(into.out)["content"]["inputs"]
    if [item["content_digest"] for item in made_of] != [item["content_digest"] for item in inputs]:
        raise OutputExists(
            "the folder holds a merge of other weights", where=into.out, remedy="give --overwrite to replace it"
        )


def equal_inputs(inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one note per input of a manifest that holds the same weights as one before it."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(item["content_digest"], item["name"]), item["name"]) for item in inputs]
    return [f"{one} and {other} are the same weights" for one, other in pairs if one != other]


def _published(name: str) -> str:
    """Return a name of a base without what belongs to one machine: ``owner/name`` stays, of a path the last part.

    Example:
      >>> _published("org/tiny"), _published("./runs/tiny/"), _published("")
      ('org/tiny', 'tiny', '')
    """
    local = name.startswith(("/", ".", "~")) or name.rstrip("/").count("/") > 1 or "\\" in name
    return PurePath(name.replace("\\", "/")).name if local else name
