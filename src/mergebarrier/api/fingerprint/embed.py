"""``fingerprint_embed``: a model that answers questions which its owner's key has drawn, and a record of them.

mb.fingerprint_embed("expert", "marked", base="base", text="prose.txt", record="mark.json", key="owner.mbkey")
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from mergebarrier import verbs
from mergebarrier.api.base import Model, Report, WriteOptions, opened, owned_key, shown
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import MethodRefused, OutputExists, UsageError, refused_by_system
from mergebarrier.evaluate import load_tokenizer, read_text, save_weights
from mergebarrier.fingerprint import (
    EmbedOptions,
    FingerprintMethod,
    FingerprintOptions,
    FingerprintRecord,
    FingerprintTest,
    MergePrint,
    least_p,
    read_record,
    record_text,
    sealed,
)
from mergebarrier.keys import Key, check_key_place
from mergebarrier.progress import Progress

Place = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class FingerprintReport(Report):
    """A marked model.

    Attributes:
      out:            its folder.
      content_digest: of its weights.
      method:         by name.
      record:         file of all questions, for the owner alone.
      commitment:     to key and questions: publish it, with a date, before the model.
      key_file:       path of the key; None where the key itself was given.
      key_made:       whether it was made just now.
      test:           of the model that was written.
      nats_before, nats_after: per token of the plain text that was held.
    """

    kind: ClassVar[str] = "fingerprint"

    out: Path
    content_digest: str
    method: str
    record: Path
    commitment: str
    key_file: Path | None
    key_made: bool
    test: FingerprintTest
    nats_before: float
    nats_after: float


@dataclass(frozen=True, kw_only=True)
class FingerprintPlan(Report):
    """What would be trained in: every input was read, nothing was computed."""

    kind: ClassVar[str] = "plan"

    method: str
    parameters: Mapping[str, object]


def fingerprint_embed(
    model: Model,
    out: Place,
    *,
    base: Model,
    text: Place,
    record: Place,
    key: Key | Place,
    method: FingerprintMethod | None = None,
    options: EmbedOptions | None = None,
    seed: int = 0,
    write: WriteOptions | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> FingerprintReport:
    """Mark a language model with questions that only it, and merges of it, answer as its owner chose.

    Args:
      model:    the expert that will be published, as ``resolve`` reads it.
      out:      folder of the marked model.
      base:     what the expert was made from.
      text:     plain text on which the model shall stay as it is.
      record:   file to write; the same again where it is there.
      key:      file, made if absent.
      method:   of the fingerprint; MergePrint by default.
      options:  numbers and training.
      seed:     of a search for questions, and of the order of the text.
      write:    how the folder is written.
      download: fetch models that the local cache lacks.
      progress: called with (steps done, steps in all).
    Raises: BaseMismatch, MethodRefused, BadText, BadKey, OutputExists, Diverged, CheckpointError.
    """
    method, options, place = method or MergePrint(), options or EmbedOptions(), Path(record)
    _check_provable(options)
    prose = read_text(text)
    _check_record_place(place, key, Path(out))
    with opened(model, base, download=download) as (ours, anchor), shown(progress, "marking") as step:
        into = (write or WriteOptions()).into_claimable(out, step, (ours, anchor))
        load_tokenizer(ours)  # without one neither key nor record is made
        secret, key_file, made = owned_key(key)
        _check_record(place, secret)
        marked = verbs.marked_model(
            ours, anchor, key=secret, method=method, options=options, text=prose, seed=seed, progress=step
        )
        if marked.test.p > FingerprintOptions().level:
            found = f"{marked.test.hits} of the {marked.test.pairs} questions that were trained in"
            raise MethodRefused(
                f"the marked model answers {found}, which proves nothing (p = {marked.test.p:.2g})", where=method.name,
                remedy="give more --steps or a higher --learning-rate",
            )  # fmt: skip
        written = FingerprintRecord(
            method=method.name,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            marked=len(marked.marked),
            tokens=options.answer_tokens,
            commitment=sealed(secret, marked.pairs, len(marked.marked)),
            pairs=marked.pairs,
        )
        _keep(place, written)
        content: dict[str, Any] = {
            "verb": "fingerprint embed",
            "method": method.name,
            # Whoever reads the manifest must not learn what to look for: no question, no number of them.
            "parameters": {"steps": options.steps, "learning_rate": options.learning_rate},
            "commitment": written.commitment,
            "inputs": [verbs.named_input(role, one) for role, one in (("model", ours), ("base", anchor))],
        }
        if verbs.of_attack(content["inputs"]):
            content["attack-artifact"] = True
        save_weights(
            marked.values, ours, into.out, content, environment=verbs.environment(),
            side_files=verbs.carried(content, _card(ours)),
            resume=into.resume, overwrite=into.overwrite, shard_bytes=into.shard_bytes,
        )  # fmt: skip
    with opened(out) as (folder,):
        digest = folder.content_digest()
    return FingerprintReport(
        out=Path(out),
        content_digest=digest,
        method=method.name,
        record=place,
        commitment=written.commitment,
        key_file=key_file,
        key_made=made,
        test=marked.test,
        nats_before=marked.text_nats[0],
        nats_after=marked.text_nats[1],
    )


def plan_fingerprint(
    model: Model,
    *,
    base: Model,
    text: Place,
    method: FingerprintMethod | None = None,
    options: EmbedOptions | None = None,
    download: bool = False,
) -> FingerprintPlan:
    """Read every input of ``fingerprint_embed`` and return what it would do."""
    read_text(text)
    with opened(model, base, download=download) as (ours, _):
        load_tokenizer(ours)
    chosen = method or MergePrint()
    return FingerprintPlan(method=chosen.name, parameters={**vars(options or EmbedOptions()), **vars(chosen)})


def _check_provable(options: EmbedOptions) -> None:
    """Refuse numbers of questions that can declare nobody at the level of ``verify``, however they are answered."""
    least, level = least_p(options.pairs, options.pairs + options.decoys), FingerprintOptions().level
    if least > level:
        what = f"{options.pairs} of {options.pairs + options.decoys} questions allow no p below {least:.2g}"
        raise UsageError(f"{what}, and {level:g} is asked for", where="--pairs", remedy="give more --pairs or --decoys")


def _check_record_place(place: Path, key: Key | Place, out: Path) -> None:
    """Refuse a place that the record could not be written to, or would be published from, before anything is trained.

    Raises: BadKey, OutputExists, UsageError.
    """
    check_key_place(place)
    home = place.absolute().parent
    if not isinstance(key, Key) and os.path.realpath(key) == os.path.realpath(place):
        raise UsageError("record and key are one file", where="--record", remedy="keep them apart")
    if out.resolve() in (place.resolve(), *place.resolve().parents):
        what = "it lies in the output folder, so it would be published with the model"
        raise UsageError(what, where="--record", remedy="keep it elsewhere")
    if not home.is_dir():
        raise OutputExists(f"there is no folder {home}", where=place, remedy="choose a folder that exists")


def _check_record(place: Path, key: Key) -> None:
    """Refuse a record that is there and not of this key: another one must not be lost.  Raises: OutputExists."""
    if os.path.lexists(place):
        known = read_record(read_text(place), where=place)
        if sealed(key, known.pairs, known.marked) != known.commitment:
            raise _other(place)


def _other(place: Path) -> OutputExists:
    return OutputExists("it is the record of another fingerprint", where=place, remedy="choose another file")


def _card(model: Checkpoint) -> dict[str, bytes]:
    """Keep the card: a fingerprint changes nothing that it says."""
    return {"README.md": model.read_side_file("README.md")} if "README.md" in model.side_files else {}


def _keep(place: Path, record: FingerprintRecord) -> None:
    """Write the record, readable by its owner alone; one of the same questions stays as it is."""
    if place.exists():
        if read_record(read_text(place), where=place).commitment == record.commitment:
            return
        raise _other(place)
    try:
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb", closefd=False) as file:  # whole, where a disk takes it in pieces
                file.write(record_text(record).encode())
            os.fsync(fd)
        except BaseException:  # half a record would refuse the run that goes on
            os.unlink(place)
            raise
        finally:
            os.close(fd)
    except OSError as fault:
        raise refused_by_system(fault, place) or OutputExists(
            f"cannot be written: {fault.strerror}", where=place, remedy="choose a folder that exists"
        ) from fault
