"""``scan``: open every folder as a suspect, run the checks that its inputs allow, and say which did not run and why.

A folder that the strict reader refuses is a finding, not the end; what is left is compared with the base tensor by
tensor, and with tasks and a merge given, run on images.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, read_manifest, split_reference
from mergebarrier.errors import BadScanInput, MergebarrierError, NotACheckpoint, folder_name
from mergebarrier.evaluate import ImageTask, load_encoder, pixels, read_image_task
from mergebarrier.identity import repeats, spelled_like
from mergebarrier.merge import Merge
from mergebarrier.progress import Progress
from mergebarrier.scan import (
    CHECKS,
    IMAGE_CHECKS,
    MIN_POOL,
    Finding,
    Outcome,
    Pool,
    PoolExpert,
    Search,
    Weights,
    finding,
    judge_task_vectors,
    measure,
    named_code,
    ordered,
    refusal,
    scan_pool,
    tags,
)
from mergebarrier.verbs.folders import MergeInput, Models
from mergebarrier.verbs.inputs import declared, parts_of, relatives

#: An encoder keeps the parameters of its folder under this name.
PREFIX = "body."


@dataclass(frozen=True)
class ScanRequest:
    """What is scanned and how hard.

    Args:
      models:    folders of models, of adapters, which are put on the base, or ``BASE+ADAPTER``; or opened models.
      base:      what they were fine-tuned from.
      tasks:     task files, one per model in the order of the models, or none.
      merge:     how the models are going to be merged; None leaves out the checks on merges.
      checks:    names from ``scan.CHECKS``.
      search:    of patches.
      leave_out: most models left out at once.
      workers:   threads of hashing.
    """

    models: tuple[Path | Checkpoint, ...]
    base: Path | Checkpoint
    tasks: tuple[Path, ...] = ()
    merge: Merge | None = None
    checks: tuple[str, ...] = tuple(CHECKS)
    search: Search = field(default_factory=Search)
    leave_out: int = 1
    workers: int = 1


@dataclass(frozen=True)
class ScanResult:
    """What a scan did and found.

    Args:
      findings: the gravest first.
      ran:      names of the checks that ran.
      left_out: (check that was asked for, why it did not run).
      digests:  name -> content digest of every model that could be read.
      outcome:  figures of the checks on images; None where none ran.
    """

    findings: tuple[Finding, ...]
    ran: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    digests: dict[str, str]
    outcome: Outcome | None = None


def scan(request: ScanRequest, *, progress: Progress | None = None) -> ScanResult:
    """Scan model folders.

    Raises: BadScanInput (an unknown check, too few task files), BadTask and whatever the loading of an encoder raises;
            never for a folder that the strict reader refuses, which is a finding.
    """
    unknown = [name for name in request.checks if name not in CHECKS]
    if unknown:
        raise BadScanInput(f"no check {unknown[0]!r}", where="checks", remedy="choose from " + ", ".join(CHECKS))
    if request.tasks and len(request.tasks) != len(request.models):
        raise BadScanInput(
            f"{len(request.tasks)} task files for {len(request.models)} models",
            where="--task",
            remedy="give one per model, in the same order, or none",
        )
    names = distinct([_called(path) for path in request.models])
    with ExitStack() as stack:
        folders = Models(stack)
        findings: list[Finding] = []
        opened = {}
        for name, path in zip(("base", *names), (request.base, *request.models), strict=True):
            checkpoint = _open(name, path, request, folders, findings)
            if checkpoint is not None:
                opened[name] = checkpoint
        digests = {name: checkpoint.content_digest() for name, checkpoint in opened.items()}
        base = opened.pop("base", None)
        usable = _like_base(base, opened, findings)
        ran: list[str] = ["folder"]
        left_out: list[tuple[str, str]] = []
        if "relation" in request.checks:
            if _relations(base, usable, findings):
                ran.append("relation")
            else:
                left_out.append(("relation", "no table knows this family"))
        if "task_vectors" in request.checks:
            if base is not None and len(usable) >= MIN_POOL:
                statistics = measure(_tensors(base, list(usable.values())), len(usable))
                findings += judge_task_vectors(list(usable), statistics)
                ran.append("task_vectors")
            else:
                left_out.append(("task_vectors", f"needs a base and {MIN_POOL} models that fit it"))
        wanted, more_left_out = _image_checks(request, base, usable)
        left_out += more_left_out
        outcome = None
        if wanted and base is not None:
            tasks = dict(zip(names, request.tasks, strict=True))
            pool = pool_of(base, usable, {name: read_image_task(tasks[name]) for name in usable})
            outcome = scan_pool(
                pool,
                request.search,
                merge=None if request.merge is None else merge_weights(request.merge),
                checks=wanted,
                leave_out=request.leave_out,
                progress=progress,
            )
            findings += outcome.findings
            ran += wanted
    return ScanResult(ordered(findings), tuple(ran), tuple(left_out), digests, outcome)


def merge_weights(method: Merge) -> Callable[[Weights, Sequence[Weights]], Weights]:
    """Return a merge of tables of weights, tensor by tensor; methods that draw do so by the names in the file."""

    def merged(base: Weights, experts: Sequence[Weights]) -> Weights:
        return {
            name: method.merge(tensor, [expert[name] for expert in experts], name=name.removeprefix(PREFIX))
            for name, tensor in base.items()
        }

    return merged


def distinct(bare: Sequence[str]) -> tuple[str, ...]:
    """Return a name per model, made distinct by its place where two folders are called alike."""
    taken = ["base", *bare]
    return tuple(name if taken.count(name) == 1 else f"{name}#{i}" for i, name in enumerate(bare, start=1))


def _called(path: Path | Checkpoint) -> str:
    if isinstance(path, Checkpoint):
        return path.name
    base, adapter = split_reference(path)
    return "+".join(folder_name(part.absolute()) for part in (base, adapter) if part is not None)


def _open(
    name: str, path: Path | Checkpoint, request: ScanRequest, folders: Models, findings: list[Finding]
) -> Checkpoint | None:
    """Open and hash one model; a refusal becomes a finding, but a mistyped path is an error: nothing was looked at."""
    try:
        checkpoint = folders.model(path) if name == "base" else folders.model_on(path, request.base)
        for part in parts_of(checkpoint):
            if (part.root / MANIFEST_NAME).exists():
                read_manifest(part.path)
        checkpoint.digests(workers=request.workers)
    except MergebarrierError as error:
        if isinstance(error, NotACheckpoint) and isinstance(path, Path) and not os.path.lexists(path):
            raise
        findings.append(refusal(name, error))
        return None
    findings += named_code(name, checkpoint.code)
    for said in map(declared, parts_of(checkpoint)):
        findings += tags(name, attack=said.attack, wish=said.do_not_merge, protected=said.protected)
    return checkpoint


def _like_base(
    base: Checkpoint | None, opened: dict[str, Checkpoint], findings: list[Finding]
) -> dict[str, Checkpoint]:
    """Return the models that hold the base's tensors, under its names; a finding for each of the others."""
    if base is None:
        return {}
    usable = {}
    for name, checkpoint in opened.items():
        view = spelled_like(base, checkpoint)
        tensors = {**view.tensors, **base.tensors}
        odd = [
            tensor
            for tensor in sorted(one for one, info in tensors.items() if info.role in ("weight", "statistic"))
            if not _is_there_too(base, view, tensor)
        ]
        if odd:
            message = f"{len(odd)} tensors are missing, added or of another shape than in the base, {odd[0]} first"
            findings.append(finding("MB7104", name, message, value=float(len(odd)), threshold=0.0))
        else:
            usable[name] = view
    return usable


def _is_there_too(base: Checkpoint, view: Checkpoint, tensor: str) -> bool:
    """Whether two models hold a tensor in one shape, or only one does and repeats another of its own."""
    holders = [side for side in (base, view) if tensor in side.tensors]
    if len(holders) == 1:
        return repeats(holders[0], tensor) is not None
    return base.tensors[tensor].shape == view.tensors[tensor].shape


def _relations(base: Checkpoint | None, usable: dict[str, Checkpoint], findings: list[Finding]) -> bool:
    """Report models that are not ordinary fine-tunes of the base; False where no table knows their family."""
    if base is None:
        return False
    inputs = [MergeInput("base", "base", base)]
    inputs += [MergeInput("expert", name, checkpoint) for name, checkpoint in usable.items()]
    found = relatives(inputs, None)
    for relative in found:
        if relative.remark is not None:
            findings.append(finding("MB7105", relative.name, relative.remark, evidence={"kind": relative.kind}))
    return bool(found)


def _tensors(base: Checkpoint, experts: Sequence[Checkpoint]) -> Iterator[tuple[str, Tensor, list[Tensor]]]:
    for name, info in base.tensors.items():
        if info.role == "weight" and all(name in expert.tensors for expert in experts):
            yield name, base.read(name), [expert.read(name) for expert in experts]


def _image_checks(
    request: ScanRequest, base: Checkpoint | None, usable: dict[str, Checkpoint]
) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    """Return the checks on images that can run, and why the others cannot."""
    wanted, left_out = [], []
    for name in (name for name in IMAGE_CHECKS if name in request.checks):
        if not request.tasks:
            left_out.append((name, "needs --task"))
        elif base is None or not usable:
            left_out.append((name, "no model that fits the base"))
        elif CHECKS[name].needs == "merge" and request.merge is None:
            left_out.append((name, "needs --merge"))
        elif CHECKS[name].needs == "merge" and len(usable) < 2:
            left_out.append((name, "needs two models that fit the base"))
        else:
            wanted.append(name)
    return tuple(wanted), left_out


def pool_of(base: Checkpoint, usable: dict[str, Checkpoint], tasks: dict[str, ImageTask]) -> Pool:
    """Load every encoder once; the images are the development rows, without their labels."""
    encoder = load_encoder(base)
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    return Pool(
        encoder,
        _weights(encoder),
        tuple(
            PoolExpert(
                name,
                _weights(load_encoder(checkpoint)),
                tasks[name].head,
                tasks[name].scale,
                pixels(tasks[name].dev.images),
                tasks[name].classes,
            )
            for name, checkpoint in usable.items()
        ),
    )


def _weights(encoder: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in encoder.named_parameters()}
