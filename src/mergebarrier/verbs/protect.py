"""``protect``: another gauge for a model folder, with a manifest that records it, sealed by the key."""

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypedDict, cast

from mergebarrier import __version__
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.checkpoint.bytes import ROUNDOFF
from mergebarrier.checkpoint.files import ProtectContent
from mergebarrier.circuits import Architecture, Circuit, describe
from mergebarrier.errors import MethodRefused, UsageError
from mergebarrier.identity import matched
from mergebarrier.keys import Key, Streams
from mergebarrier.parameters import parameters_of
from mergebarrier.protect import Context, Prepared, Protection, Value
from mergebarrier.run import Tables
from mergebarrier.verbs.folders import Ending, OutputOptions, input_of, write_circuits

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mergebarrier.checkpoint.files import ProtectFacts
    from mergebarrier.protect import Pieces

_SECTION = """\
## Protection against merging

These weights were protected by MergeBarrier {version} (method `{method}`): the model computes the same function, with
{form}, and merges badly with its relatives. {limit} {undo}

Adapters that were trained on the original do not fit these weights. What was done stands in `mergebarrier.json`; the
content digest (SHA-256) of the weights is `{digest}`. How much of a merge an attacker recovers is measured by
`mergebarrier audit`, and claimed by no line of this card."""


#: What a card says of names and shapes of a folder whose class is ours.
_CODE = """\
polynomials in the place of activations, so nearly, and under other names: no stock class takes them. Load it with
`AutoModel...from_pretrained(FOLDER, trust_remote_code=True)`, which runs `modeling_mergebarrier.py` of this folder, a
file of MergeBarrier"""


def protect(
    source: Checkpoint,
    protection: Protection,
    key: Key | None,
    into: OutputOptions,
    *,
    base: Checkpoint | None = None,
    ready: Callable[[Prepared], None] | None = None,
    text: str | None = None,
    do_not_merge: bool = False,
) -> "tuple[ProtectContent, Prepared]":
    """Write a protected model.

    Args:
      source:     the owner's model.
      protection: a member of ``PROTECTIONS``, validated.
      key:        the owner's key; None for a method without one.
      into:       where to.
      base:       the public base, for a method that looks at it.
      ready:      called once nothing is left to refuse, before the first byte is written.
      text:       of the owner, for a method that is calibrated.
      do_not_merge: ask in manifest and card that nobody merges the output.
    Returns: the ``content`` part of the manifest, and what the protection reports about itself for this model.
    Raises:  ArchError, MethodRefused, CheckpointError; nothing is finalised then.
    """
    streams = None if key is None else lambda: key.streams(source.content_digest(into.workers), protection.name)
    base = None if base is None else matched(source, base)
    architecture, prepared = prepare(source, protection, streams=streams, base=base, text=text)
    source.digests(workers=into.workers)
    facts: ProtectFacts = {
        "verb": "protect",
        "method": protection.name,
        "parameters": dict(_in_manifest(protection, prepared)),
        "key_id": key.id if key is not None else None,
        "inputs": [input_of("model", source)],
        "roundtrip_bound": roundtrip_bound(source, prepared),
    }

    if do_not_merge:
        facts["do_not_merge"] = True

    def apply(circuit: Circuit, tables: Tables) -> "Pieces":
        return prepared.apply(circuit, tables[0])

    if ready is not None:
        ready(prepared)

    def section(digest: str) -> str:
        return _SECTION.format(
            version=__version__, method=protection.name, digest=digest, limit=prepared.limit,
            form=_CODE if prepared.names else "the same names and shapes",
            undo=f"The owner's key `{key.id}` undoes it." if key and prepared.invert else "It has no key.",
        )  # fmt: skip

    ending = Ending(section=section, seal=None if key is None else key.seal)
    content = write_circuits((source,), architecture, apply, facts, into, output=prepared, ending=ending)
    return cast("ProtectContent", content), prepared


class Intended(TypedDict):
    """What ``protect`` would do."""

    method: str
    family: str
    parameters: Mapping[str, object]
    circuits: int
    tensors: int
    bytes: int
    files: tuple[str, ...]


def dry_run(
    source: Checkpoint, protection: Protection, *, base: Checkpoint | None = None, text: str | None = None
) -> Intended:
    """Return what ``protect`` would do: circuits, bytes, effective parameters."""
    architecture, prepared = prepare(source, protection, base=base, text=text)
    return {
        "method": protection.name,
        "family": architecture.family,
        "parameters": _in_manifest(protection, prepared),
        "circuits": len(architecture.circuits),
        "tensors": len(source.tensors),
        "bytes": sum(info.nbytes for info in source.tensors.values()),
        "files": tuple(shard.name for shard in source.shards),
    }


def prepare(
    source: Checkpoint,
    protection: Protection,
    *,
    streams: Callable[[], Streams] | None = None,
    base: Checkpoint | None = None,
    text: str | None = None,
    undone: Mapping[str, Value] | None = None,
) -> tuple[Architecture, Prepared]:
    """Let a protection look at the model; ``streams`` is called when it first draws, the text is read when needed.

    Raises: UsageError for a text that the protection does not look at; MethodRefused.
    """
    owned = _OwnersText(source, text)
    late = cache(streams) if streams is not None and protection.keyed else None
    context = Context(
        checkpoint=source,
        architecture=describe(source),
        streams=None if late is None else lambda circuit, purpose: late()(circuit, purpose),
        base=base,
        module=owned.module,
        data=None if text is None else owned.passes,
        undone=undone,
    )
    _check_needs(protection, context)
    prepared = protection.prepare(context)
    if text is not None and not owned.read:
        raise UsageError(f"{protection.name} is not calibrated", where="--text", remedy="leave it out")
    return context.architecture, prepared


class _OwnersText:
    """The model as a live network, and what it reads of a text."""

    def __init__(self, source: Checkpoint, text: str | None) -> None:
        self._source, self._text, self.read = source, text or "", False

    @cached_property
    def _module(self) -> "nn.Module":
        from mergebarrier.evaluate import load_module

        return load_module(self._source, "float32")

    def module(self) -> "nn.Module":
        return self._module

    def passes(self, count: int) -> "list[dict[str, Tensor]]":
        """Cut the text into sequences; MethodRefused for a model that reads none, BadText."""
        from mergebarrier.evaluate import load_tokenizer, reads_more, reads_tokens, text_windows

        self.read = True
        config: Any = self._module.config
        if not reads_tokens(self._module) or reads_more(self._module) or config.is_encoder_decoder:
            what = "calibration gives a model a text and nothing else, which is not all that this one reads"
            remedy = "leave --ffn out: the attention part acts alone"
            raise MethodRefused(what, where=self._source.path, remedy=remedy)
        found = text_windows(self._module, load_tokenizer(self._source), self._text, count)
        return [{"input_ids": ids} for ids in found]


def roundtrip_bound(source: Checkpoint, prepared: Prepared) -> float:
    """Largest relative error (Frobenius, per tensor) of a round trip: one rounding each way, the first amplified."""
    if prepared.reversibility == "exact":
        return 0.0
    return max(ROUNDOFF.get(info.dtype, 0.0) for info in source.tensors.values()) * (prepared.amplified + 1.0)


def _check_needs(protection: Protection, context: Context) -> None:
    """Raise MethodRefused when a protection is not given what it cannot do without."""
    missing = sorted(need for need in protection.needs if getattr(context, need) is None)
    if missing:
        raise MethodRefused(f"{protection.name} needs {', '.join(missing)}", where=context.checkpoint.path,
                            remedy="give " + ", ".join(f"--{need}" for need in missing))  # fmt: skip


def _in_manifest(protection: Protection, prepared: Prepared) -> dict[str, Value]:
    """Return the effective parameters, and the classes of exactness, as a manifest holds them."""
    declared = {name: getattr(protection, name) for name in parameters_of(protection)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in declared.items()}
    classes = {"reversibility": prepared.reversibility, "determinism": prepared.determinism}
    return {**plain, **prepared.parameters, **classes}
