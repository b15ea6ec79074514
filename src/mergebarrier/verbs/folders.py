"""The folders of a verb: those that a command names, opened once each, and the model folder that it writes.

path | base+adapter  ->  Checkpoint | Expert        two names of one folder give one and the same object
checkpoint -> run: read, gather, change, round, scatter, write -> side files, manifest, one rename
"""

import platform
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mergebarrier.checkpoint import (
    LICENCE_FILES,
    AdaptedCheckpoint,
    Adapter,
    Checkpoint,
    OutputFolder,
    Writer,
    described_anew,
    is_adapter,
    layout_like,
    open_adapter,
    open_checkpoint,
    read_manifest,
    sharded,
    split_reference,
)
from mergebarrier.checkpoint.bytes import content_digest
from mergebarrier.circuits import CIRCUITS, Architecture, Circuit
from mergebarrier.errors import DigestMismatch, UsageError
from mergebarrier.identity import finder, fused, split, stored_once, ties_of
from mergebarrier.lineage import (
    ATTACK_TAG,
    BARRED_TAG,
    CARD,
    PROTECTED_TAG,
    WISH_TAG,
    declaration,
    declared,
    marked,
    unmarked,
)
from mergebarrier.progress import Progress
from mergebarrier.published import PLAN
from mergebarrier.run import Change, transform

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import (
        AnyContent,
        Environment,
        ProtectFacts,
        Read,
        RealignFacts,
        UnprotectFacts,
    )


class Models:
    """Opened folders, closed with the stack.

    Args:
      stack:    closes them.
      untie:    store the head of an adapted model apart where it must be.
      any_code: open folders, to be described, that only code of their own could run.
    """

    def __init__(self, stack: ExitStack, *, untie: bool = False, any_code: bool = False) -> None:
        """Start with nothing open."""
        self._stack, self._untie, self._any_code = stack, untie, any_code
        self._models: dict[Path, Checkpoint] = {}
        self._adapters: dict[Path, Adapter] = {}
        self._experts: dict[tuple[Path, Path], AdaptedCheckpoint] = {}

    def model(self, path: Path | Checkpoint) -> Checkpoint:
        """Open a model folder, or ``BASE+ADAPTER``; errors as ``open_reference``.  What is open already stays so."""
        if isinstance(path, Checkpoint):
            return path
        if not path.is_dir():
            path, adapter = split_reference(path)
            if adapter is not None:
                return self.expert(path, adapter)
        real = path.resolve()
        if real not in self._models:
            self._models[real] = self._stack.enter_context(open_checkpoint(path, any_code=self._any_code))
        return self._models[real]

    def model_on(self, path: Path | Checkpoint, base: Path | Checkpoint | None) -> Checkpoint:
        """Open a model as ``model`` does, or an adapter folder as a model, on ``base``; UsageError without one."""
        if isinstance(path, Checkpoint) or not is_adapter(path):
            return self.model(path)
        if base is None:
            raise UsageError("this is an adapter, and no base was given", where=path, remedy="give --base")
        return self.expert(base, path)

    def adapter(self, path: Path) -> Adapter:
        """Open an adapter folder; errors as ``open_adapter``."""
        real = path.resolve()
        if real not in self._adapters:
            self._adapters[real] = self._stack.enter_context(open_adapter(path))
        return self._adapters[real]

    def expert(self, base: Path | Checkpoint, adapter: Path) -> AdaptedCheckpoint:
        """Return a base with an adapter on it; BadAdapter where they do not fit."""
        opened = stored_once(self.model(base))
        key = opened.path.resolve(), adapter.resolve()
        if key not in self._experts:
            lora = self.adapter(adapter)
            if any(one.parameters for one in lora.factors.values()):  # of experts, which are one tensor when trained
                opened = fused(opened)
            elif any(map(_ONE_EXPERT.search, (*lora.factors, *lora.updates))):
                opened = split(opened)
            self._experts[key] = AdaptedCheckpoint(opened, lora, finder(opened), ties_of(opened), untie=self._untie)
        return self._experts[key]


_ONE_EXPERT = re.compile(r"\.experts\.\d+\.")
_AS_READ = OutputFolder()


@dataclass(frozen=True)
class OutputOptions:
    """Where and how a folder is written.

    Args:
      out:           the folder.
      resume:        go on with an unfinished run.
      overwrite:     replace an output that exists.
      workers:       circuits at once; never changes a byte.
      max_ram_bytes: memory budget, None for the default.
      progress:      called with (bytes done, bytes in all).
      shard_bytes:   fill files of weights to this size; None for those of the input.
    """

    out: Path
    resume: bool = False
    overwrite: bool = False
    workers: int = 1
    max_ram_bytes: int | None = None
    progress: Progress | None = None
    shard_bytes: int | None = None


def parts_of(source: Checkpoint) -> tuple[Checkpoint, ...]:
    """Return what speaks for a model: itself, or the base and the adapter that it is made of."""
    source = source.as_stored()
    return (source.base, source.adapter.weights) if isinstance(source, AdaptedCheckpoint) else (source,)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What is checked and said of an output once its weights are written.

    Args:
      expected: tensor name -> digest that must come out.
      section:  (content digest of the output) -> what the card says of the work.
      seal:     (canonical content of the manifest) -> what vouches for it.
    """

    expected: Mapping[str, str] = field(default_factory=dict)
    section: Callable[[str], str] = lambda digest: ""
    seal: Callable[[bytes], Mapping[str, str]] | None = None


_NOTHING_MORE = Ending()


def input_of(role: str, source: Checkpoint) -> "Read":
    """Return the part of a manifest that says what one input was, and what it says about itself."""
    return cast("Read", {**named_input(role, source), "tensors": source.digests()})


def named_input(role: str, source: Checkpoint) -> dict[str, Any]:
    """Return the same without the digests of its tensors."""
    said, *rest = map(declared, parts_of(source))
    for other in rest:
        said = said.beside(other)
    return {"role": role, **said.described(), "content_digest": source.content_digest()}


def of_attack(inputs: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether an input of a manifest is an attack artefact: what is made of it is one too."""
    return any(item.get("declared", {}).get("attack") for item in inputs)


def carried(facts: Mapping[str, Any], side_files: Mapping[str, bytes], section: str = "") -> dict[str, bytes]:
    """Return the files of an output with its card: what its inputs ask for is asked for by the output too.

    Args:
      facts:      of its manifest.
      side_files: of the output, with the card that it would have.
      section:    what the card says of the work.
    """
    said = [item.get("declared", {}) for item in facts["inputs"]]
    card, verb = side_files.get(CARD, b""), facts["verb"]
    texts = {name: data for name, data in side_files.items() if name in (CARD, *LICENCE_FILES)}
    tags = [PROTECTED_TAG] if verb == "protect" else []
    asked = facts.get("do_not_merge") or any(item.get("do_not_merge") for item in said)
    if asked and not declaration({CARD: card}).do_not_merge:
        tags.append(WISH_TAG)
    if any(item.get("no_derivatives") for item in said) and not declaration(texts).no_derivatives:
        tags.append(BARRED_TAG)
    if any(item.get("attack") for item in said):
        tags.append(ATTACK_TAG)
    card = marked(unmarked(card) if verb == "unprotect" else card, tags, section)
    return {**{name: data for name, data in side_files.items() if name != CARD}, **({CARD: card} if card else {})}


def hashed(source: Checkpoint, hashing: str) -> dict[str, object]:
    """Return the digests of a model's content; those of its files would cost a second hash, and say no more."""
    return {"content_digest": source.content_digest(hashing=hashing), "tensors": source.digests(hashing=hashing)}


def write_circuits(
    sources: Sequence[Checkpoint],
    architecture: Architecture,
    change: Change[Circuit],
    facts: "ProtectFacts | UnprotectFacts | RealignFacts",
    into: OutputOptions,
    *,
    output: OutputFolder = _AS_READ,
    ending: Ending = _NOTHING_MORE,
) -> "AnyContent":
    """Write the first source with its circuits changed, and commit it.

    Args:
      sources:      opened; the first gives layout, configuration and side files, where ``output`` says nothing else.
      architecture: of the sources; its circuits are the units of work.
      change:       (circuit, one table of logical tensors per source) -> new logical tensors.
      facts:        what the manifest says of the work.
      into:         where to.
      output:       other layout, configuration and files.
      ending:       what is checked and said once all is written.
    Returns: the content of the manifest as written.
    Raises:  DigestMismatch when another digest than the expected one comes out; CheckpointError.
    """
    donor = sources[0]
    if of_attack(facts["inputs"]):
        facts["attack-artifact"] = True
    for source in sources:
        source.stream()
    writer = Writer.create(
        into.out,
        sharded(output.layout or layout_like(donor), into.shard_bytes),
        plan={name: value for name, value in facts.items() if name != "diagnostics"},
        inputs=[folder for source in sources for folder in source.folders],
        resume=into.resume,
        overwrite=into.overwrite,
    )
    with closing(writer):
        with writer.attempt():
            transform(
                sources,
                writer,
                architecture.circuits,
                change,
                layout=replace(CIRCUITS, names=output.names),
                workers=into.workers,
                max_ram_bytes=into.max_ram_bytes,
                progress=into.progress,
            )
        odd = next((name for name, digest in ending.expected.items() if digest != writer.digests.get(name)), None)
        if odd is not None:
            writer.discard()
            raise DigestMismatch(
                "the restored bytes differ from those that were protected",
                where=f"{into.out}: {odd}",
                remedy="use the mergebarrier version that protected this model",
            )
        side_files = {name: donor.read_side_file(name) for name in donor.side_files} | dict(output.side_files)
        if output.config or PLAN in donor.config:
            side_files |= described_anew(donor, output)
        side_files = carried(facts, side_files, ending.section(content_digest(writer.digests)))
        writer.commit(facts, environment(), side_files, workers=into.workers, seal=ending.seal)
    return read_manifest(into.out, ours=True)["content"]


def environment() -> "Environment":
    """Return versions and platform, the part of a manifest that no digest covers."""
    import numpy
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
    }
