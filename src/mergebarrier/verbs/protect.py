"""``protect``: another gauge for a model folder, with a manifest that records it, sealed by the key."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypedDict, cast

from mergebarrier import __version__
from mergebarrier.checkpoint import MANIFEST_NAME, PLAIN_TYPES, Checkpoint, layout_like, read_manifest, sharded
from mergebarrier.checkpoint.bytes import ROUNDOFF
from mergebarrier.checkpoint.files import ProtectContent
from mergebarrier.circuits import Architecture, Circuit, describe
from mergebarrier.errors import CheckpointError, MethodRefused, UsageError
from mergebarrier.identity import matched
from mergebarrier.keys import Key, Streams
from mergebarrier.lineage import declared
from mergebarrier.parameters import parameters_of
from mergebarrier.protect import Context, Prepared, Protection, Value
from mergebarrier.run import Tables
from mergebarrier.verbs.folders import Ending, OutputOptions, input_of, write_circuits

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mergebarrier.checkpoint.files import AnyContent, ProtectFacts, TrainedFigures
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
    images: "Tensor | None" = None,
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
      images:     of the owner, for the same: UInt8[Tensor, "n c h w"].
      do_not_merge: ask in manifest and card that nobody merges the output.
    Returns: the ``content`` part of the manifest, and what the protection reports about itself for this model.
    Raises:  ArchError, MethodRefused, CheckpointError; nothing is finalised then.
    """
    streams = None if key is None else lambda: key.streams(source.content_digest(into.workers), protection.name)
    base = None if base is None else matched(source, base)
    architecture, prepared = prepare(source, protection, streams=streams, base=base, text=text, images=images)
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
    before = _made(source)
    if before is not None and before["verb"] == "protect":
        facts["protected_before"] = [*before.get("protected_before", []), before["method"]]
    trained = _trained(source)
    if trained is not None:
        facts["trained"] = trained

    def apply(circuit: Circuit, tables: Tables) -> "Pieces":
        return prepared.apply(circuit, tables[0])

    if ready is not None:
        ready(prepared)

    def section(digest: str) -> str:
        return _SECTION.format(
            version=__version__, method=protection.name, digest=digest, limit=prepared.limit,
            form=_form(prepared),
            undo=f"The owner's key `{key.id}` undoes it." if key and prepared.invert else "It has no key.",
        )  # fmt: skip

    ending = Ending(section=section, seal=None if key is None else key.seal)
    content = write_circuits((source,), architecture, apply, facts, into, output=prepared, ending=ending)
    return cast("ProtectContent", content), prepared


def _form(prepared: Prepared) -> str:
    """Return what a card says of names and shapes."""
    if prepared.side_files:
        return _CODE
    return "the same names and shapes" if prepared.layout is None else f"other shapes ({prepared.variant})"


class Intended(TypedDict):
    """What ``protect`` would do."""

    method: str
    family: str
    parameters: Mapping[str, object]
    circuits: int
    tensors: int
    bytes: int
    files: tuple[str, ...]


def _trained(source: Checkpoint) -> "TrainedFigures | None":
    """Return what a training reported of this model, which a lock on top of it leaves as it was; None for any other."""
    content = _made(source)
    if content is None or content["verb"] != "protect":
        return None
    return content.get("trained") if content["output"]["content_digest"] == source.content_digest() else None


def dry_run(
    source: Checkpoint,
    protection: Protection,
    *,
    base: Checkpoint | None = None,
    text: str | None = None,
    images: "Tensor | None" = None,
    shard_bytes: int | None = None,
) -> Intended:
    """Return what ``protect`` would do: circuits, what is written, effective parameters."""
    architecture, prepared = prepare(source, protection, base=base, text=text, images=images)
    layout = sharded(prepared.layout or layout_like(source), shard_bytes)
    return {
        "method": protection.name,
        "family": architecture.family,
        "parameters": _in_manifest(protection, prepared),
        "circuits": len(architecture.circuits),
        "tensors": len(layout),
        "bytes": sum(tensor.nbytes for tensor in layout),
        "files": tuple(dict.fromkeys(tensor.shard for tensor in layout)),
    }


def prepare(
    source: Checkpoint,
    protection: Protection,
    *,
    streams: Callable[[], Streams] | None = None,
    base: Checkpoint | None = None,
    text: str | None = None,
    images: "Tensor | None" = None,
    undone: Mapping[str, Value] | None = None,
) -> tuple[Architecture, Prepared]:
    """Let a protection look at the model; ``streams`` is called when it first draws, text and pictures when needed.

    Raises: UsageError for a text or pictures that the protection does not look at; MethodRefused.
    """
    owned = _OwnersData(source, text, images)
    late = cache(streams) if streams is not None and protection.keyed else None
    context = Context(
        checkpoint=source,
        architecture=describe(source),
        streams=None if late is None else lambda circuit, purpose: late()(circuit, purpose),
        base=base,
        module=owned.module,
        data=owned.passes if owned.given else None,
        undone=undone,
    )
    _check_needs(protection, context)
    prepared = protection.prepare(context)
    if owned.given and not owned.read:
        raise UsageError(f"{protection.name} is not calibrated", where=owned.given[0], remedy="leave it out")
    return context.architecture, prepared


class _OwnersData:
    """The model as a live network, and what it reads of the owner's text and pictures."""

    def __init__(self, source: Checkpoint, text: str | None, images: "Tensor | None") -> None:
        self._source, self._text, self._images, self.read = source, text, images, False
        options = {"--text": text, "--images": images}
        self.given = [option for option, value in options.items() if value is not None]

    @cached_property
    def _module(self) -> "nn.Module":
        from mergebarrier.evaluate import load_module

        return load_module(self._source, "float32")

    def module(self) -> "nn.Module":
        return self._module

    def passes(self, count: int) -> "list[dict[str, Tensor]]":
        """Cut the text into sequences, prepare the pictures, one a pass; MethodRefused for what is missing, BadText."""
        from mergebarrier.evaluate import load_tokenizer, model_inputs, prepared_pictures, text_windows

        self.read, source = True, self._source
        ways: dict[str, tuple[str, object, str]] = {
            "input_ids": ("--text", self._text, "text"),
            "pixel_values": ("--images", self._images, "pictures"),
        }
        asked = model_inputs(self._module)
        if not asked or not asked <= {*ways, "decoder_input_ids"}:
            what = "it reads sound, or pictures among its words; calibration gives text, pictures, or both apart"
            remedy = "leave --ffn out: the attention part acts alone"
            raise MethodRefused(what, where=source.path, remedy=remedy)
        for name, (option, value, what) in ways.items():
            if (value is None) == (name in asked):
                reads, remedy = ("reads", "give some") if value is None else ("reads no", "leave it out")
                raise MethodRefused(f"a {type(self._module).__name__} {reads} {what}", where=option, remedy=remedy)
        read: dict[str, Sequence[Tensor]] = {}
        if self._text is not None:
            texts = text_windows(self._module, load_tokenizer(source), self._text, count + 1)
            read["input_ids"] = texts[:count]
            if "decoder_input_ids" in asked:  # goes on with the text
                read["decoder_input_ids"] = texts[1:]
        if self._images is not None:
            read["pixel_values"] = prepared_pictures(source, self._images, count).split(1)
        return [dict(zip(read, one, strict=True)) for one in zip(*read.values(), strict=False)]


def remarks(source: Checkpoint, prepared: Prepared) -> list[str]:
    """Return what the owner of a model should hear that is protected already, a merge, or was quantised."""
    found, made = [], _made(source)
    if declared(source.as_stored()).protected:
        way = "to come back to the original, undo both protections, this one first"
        if prepared.reversibility == "none":
            way = "nothing undoes the second protection, so nothing leads back to the original from here"
        elif made is not None and made["verb"] == "protect" and made["parameters"].get("reversibility") == "none":
            way = f"nothing undoes {made['method']}, so the key leads back to this model and not to the original"
        found.append(f"this model is protected already: {way}")
    if made is not None and made["verb"] == "merge":
        found.append("this model is a merge: whoever has what it was merged from can merge that instead")
    if made is not None and made["verb"] == "import":
        types = [name for item in made["inputs"] for name in item["types"] if name not in PLAIN_TYPES]
        if types:
            found.append(
                f"this model was quantised ({', '.join(types)}): its weights lie on that grid, which no change of "
                "coordinates hides; protect the original weights if you have them"
            )
    return found


def _made(source: Checkpoint) -> "AnyContent | None":
    """Return what a verb wrote into the manifest of a model; None without one that can be read and names its verb."""
    stored = source.as_stored()
    try:
        content = read_manifest(stored.root)["content"] if (stored.root / MANIFEST_NAME).exists() else None
    except CheckpointError:
        return None
    return content if content is not None and "verb" in content else None


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
