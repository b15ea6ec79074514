"""``fingerprint_verify``: do suspects answer the questions that were trained into a marked model?

report = mb.fingerprint_verify("mark.json", ["suspect"], key="owner.mbkey", nulls=["base"])
report.suspects[0].test.p
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from mergebarrier.api.base import (
    HEARD,
    AskOptions,
    Model,
    ProvenanceEvidence,
    Row,
    Said,
    as_given,
    asked_flags,
    check_decidable,
    check_suspected,
    command_line,
    finding_of,
    held_key,
    read_evidence,
    said_by,
    shown,
)
from mergebarrier.errors import BadKey
from mergebarrier.fingerprint import (
    FingerprintOptions,
    FingerprintRecord,
    FingerprintTest,
    answered,
    embedded_places,
    exchange_test,
    least_p,
    read_record,
    sealed,
)
from mergebarrier.keys import Key
from mergebarrier.numerics import holm
from mergebarrier.progress import Progress

Place = str | os.PathLike[str]

CLAIM: Final = "the marked model, or a model made from it, is part of the suspect"
ASSUMED: Final = (
    "key and questions were fixed before the suspect was made, and their commitment was published then",
    "nobody but the owner has had the record, and the suspect's makers have not trained it on these questions",
    "the level was fixed before the suspect was asked",
    HEARD,
)
NOT_PROVED: Final = (
    "who made the suspect, when, and whether it was allowed",
    "which share of the suspect comes from the marked model",
    "that the marked model is no part of a suspect where p is large: training for long enough, a small share in a "
    "merge, or a filter before the model hides it",
)
#: Questions are continued, not chatted about.
_ASKED: Final = AskOptions(interface="completions")
_SAYS: Final = {True: "answers the questions of the marked model", False: "shows no evidence of the marked model"}
_SPOILT: Final = "is not judged: a model that is known to be unrelated answers the questions too"


@dataclass(frozen=True, kw_only=True)
class AskedSuspect:
    """What one model's answers say.

    Attributes:
      name:       as given.
      recognised: whether the adjusted p is at most the level; a null that is recognised speaks against the record, and
                  then no suspect is.
      adjusted:   p by Holm over all suspects; of a null its own p.
      test:       with its null.
      empty_frac: share of the answers that hold nothing: a model that says nothing shows nothing.
    """

    name: str
    recognised: bool
    adjusted: float
    test: FingerprintTest
    empty_frac: float


@dataclass(frozen=True, kw_only=True)
class RecognitionReport(ProvenanceEvidence):
    """Which suspects answer as the marked model does.

    Attributes:
      record, method, made, commitment: of the fingerprint; key and questions are those of the commitment.
      level:    at which a suspect is declared.
      suspects: in the order given.
      nulls:    models that are known to be unrelated to the marked one, asked in the same way.
    """

    kind: ClassVar[str] = "recognition"

    record: str
    method: str
    made: str
    commitment: str
    level: float
    suspects: tuple[AskedSuspect, ...]
    nulls: tuple[AskedSuspect, ...]

    def rows(self) -> Sequence[Row]:
        """Return one row per model that was asked."""
        return [
            {"name": one.name, "null": one in self.nulls, "recognised": one.recognised, "adjusted": one.adjusted}
            | {**vars(one.test), "empty_frac": one.empty_frac}
            for one in (*self.suspects, *self.nulls)
        ]

    def said(self) -> Said:
        """Return what the statement says."""
        spoilt = any(one.recognised for one in self.nulls)
        fired = sum(one.test.hits for one in self.nulls)
        asked = sum(one.test.pairs for one in self.nulls)
        known = f"{fired} of {asked} answers of {len(self.nulls)} models" if self.nulls else "none was asked"
        findings = tuple(
            finding_of(
                one.name, one.recognised, one.adjusted, {**_SAYS, False: _SPOILT} if spoilt else _SAYS,
                (
                    ("questions trained in, answered as recorded", f"{one.test.hits} of {one.test.pairs}"),
                    ("questions kept back, answered as recorded", f"{one.test.decoy_hits} of {one.test.decoys}"),
                    ("answers that hold nothing", f"{one.empty_frac:.1%}"),
                    ("least p that these numbers allow", f"{one.test.least:.2g}"),
                    ("models known to be unrelated", known),
                    ("commitment", f"{self.commitment}; the record is dated {self.made} by its owner"),
                ),
            )
            for one in self.suspects
        )  # fmt: skip
        null = (
            "the chance that a model made without the marked one answers so many more of the questions that the key "
            "drew to be trained in than of those that it drew to be kept back; exact, adjusted for all suspects by Holm"
        )
        return Said(title="Fingerprint of a model", null=null, level=self.level, findings=findings)


def fingerprint_verify(
    record: Place,
    suspects: Sequence[Model],
    *,
    key: Key | Place,
    nulls: Sequence[Model] = (),
    options: FingerprintOptions | None = None,
    ask: AskOptions | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> RecognitionReport:
    """Ask suspects the questions of a record, by text alone.

    Args:
      record:   that ``fingerprint_embed`` wrote.
      suspects: each as ``resolve`` reads it, http(s)://... of a server, or FILE.jsonl of {"query", "answer"}.
      key:      of the record; tells which questions were trained in.
      nulls:    models that are known to be unrelated.
      options:  fixed before anybody is asked.
      ask:      how models are asked; for as many tokens as the longest answer has, whatever it says.
      download: fetch models that the local cache lacks.
      progress: called with (models asked, models in all).
    Raises: BadReport, BadKey (another key than the record's), UsageError, ServiceFailed, CheckpointError.
    """
    options = options or FingerprintOptions()
    check_suspected(suspects, nulls)
    text, source = read_evidence(record, "record")
    known = read_record(text, where=record)
    check_decidable(least_p(known.marked, len(known.pairs)), options.level, suspects)
    marked = _marked(known, key, record)
    ask = replace(ask or _ASKED, max_tokens=known.tokens)
    names = [as_given(model) for model in (*suspects, *nulls)]
    inputs, asked = [source], []
    with shown(progress, "asking") as step:
        for done, (name, model) in enumerate(zip(names, (*suspects, *nulls), strict=True), 1):
            role = "suspect" if done <= len(suspects) else "null"
            said, who = said_by(model, [pair.prompt for pair in known.pairs], ask, role=role, download=download)
            hits = [answered(answer, pair.answer) for answer, pair in zip(said, known.pairs, strict=True)]
            test = exchange_test(hits, marked)
            inputs.append(who)
            silent = sum(not answer.strip() for answer in said) / len(said)
            asked.append(
                AskedSuspect(
                    name=name, recognised=test.p <= options.level, adjusted=test.p, test=test, empty_frac=silent
                )
            )
            step(done, len(names))
    adjusted, against = holm([one.test.p for one in asked[: len(suspects)]]), tuple(asked[len(suspects) :])
    spoilt = any(one.recognised for one in against)
    how = asked_flags(suspects, key, ask, replace(_ASKED, max_tokens=known.tokens))
    flags = {**how, "--null": tuple(map(as_given, nulls))}
    return RecognitionReport(
        claim=CLAIM,
        assumed=ASSUMED,
        not_proved=NOT_PROVED,
        resolution=(
            f"it is exact, by the draw of {known.marked} of {len(known.pairs)} questions, and cannot be below "
            f"{least_p(known.marked, len(known.pairs)):.2g}"
        ),
        command=command_line("fingerprint verify", record, flags, options),
        inputs=tuple(inputs),
        record=Path(record).name,
        method=known.method,
        made=known.made,
        commitment=known.commitment,
        level=options.level,
        suspects=tuple(
            replace(one, adjusted=p, recognised=p <= options.level and not spoilt)
            for one, p in zip(asked, adjusted, strict=False)
        ),
        nulls=against,
    )


def _marked(record: FingerprintRecord, given: Key | Place, where: Place) -> tuple[int, ...]:
    """Return which questions were trained in, once the key has been held against the commitment."""
    key = held_key(given)
    if sealed(key, record.pairs, record.marked) != record.commitment:
        what = "this key and these questions are not those that the record commits to"
        raise BadKey(what, where=where, remedy="give the key that `fingerprint embed` used, and the record unchanged")
    return embedded_places(key, record.pairs, record.marked)
