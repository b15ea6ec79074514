"""``radioactivity``: was a suspect trained on what a watermarked sampler wrote?

report = mb.radioactivity("ledger.jsonl", ["suspect"], service="model", key="owner.mbkey")
report.suspects[0].test.p
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final

from mergebarrier.api.base import (
    AskOptions,
    Model,
    ProvenanceEvidence,
    ProvenanceInput,
    Row,
    Said,
    as_given,
    asked_flags,
    check_decidable,
    check_suspected,
    command_line,
    finding_of,
    held_key,
    opened,
    p_value,
    said_by,
    shown,
    verdicts,
)
from mergebarrier.api.watermark.ledger_file import ASSUMED, NOT_PROVED, check_commitment, drawn_rows, read_ledger_file
from mergebarrier.errors import BadConfig, UsageError
from mergebarrier.evaluate import load_tokenizer, sampler_processor
from mergebarrier.keys import Key
from mergebarrier.merge.recipe import vocabulary_size
from mergebarrier.numerics import LEAST_TAIL
from mergebarrier.progress import Progress
from mergebarrier.watermark import (
    SAMPLED,
    SYNTHID,
    RadioactivityOptions,
    RadioactivityTest,
    SamplingKey,
    radioactivity_test,
)

Place = str | os.PathLike[str]

CLAIM: Final = "the suspect was trained on text that the watermarked sampler wrote"
_NOT_PROVED: Final = (
    *NOT_PROVED,
    "that the suspect asked the service itself: text of the service that others published counts as well",
    "that a suspect did not learn from the service where p is large: little such text among much hides it",
)
_SAYS: Final = {True: "leans the way of the service's key", False: "shows no evidence of the service's key"}


@dataclass(frozen=True, kw_only=True)
class LeaningSuspect:
    """What one suspect's answers say.

    Attributes:
      name:        as given.
      radioactive: whether the adjusted p is at most the level.
      adjusted:    p by Holm over all suspects.
      test:        with its null.
    """

    name: str
    radioactive: bool
    adjusted: float
    test: RadioactivityTest


@dataclass(frozen=True, kw_only=True)
class RadioactivityReport(ProvenanceEvidence):
    """Which suspects write as if they had learned from the service.

    Attributes:
      ledger, made, commitment: of the service; the key is that of the commitment.
      mode:     "green" or "synthid".
      queries, decoys, level: as fixed before.
      suspects: in the order given.
    """

    kind: ClassVar[str] = "radioactivity"

    ledger: str
    made: str
    commitment: str
    mode: str
    queries: int
    decoys: int
    level: float
    suspects: tuple[LeaningSuspect, ...]

    def rows(self) -> Sequence[Row]:
        """Return one row per suspect."""
        return [
            {"name": one.name, "radioactive": one.radioactive, "adjusted": one.adjusted, **vars(one.test)}
            for one in self.suspects
        ]

    def said(self) -> Said:
        """Return what the statement says."""
        findings = tuple(
            finding_of(
                one.name, one.radioactive, one.adjusted, _SAYS,
                (
                    ("distinct n-grams judged", f"{one.test.ngrams}, by a {self.mode} sampler"),
                    ("lean the way of the key", f"{one.test.score:.2%}"),
                    ("lean the way of fresh keys", f"{one.test.null_mean:.2%}"),
                    ("binomial tail", p_value(one.test.p_binomial, tail=True)),
                    None if one.test.p_decoys is None else (f"{self.decoys} fresh keys", p_value(one.test.p_decoys)),
                    ("queries", f"{self.queries}, of a ledger that is dated {self.made} by its owner"),
                    ("commitment", f"{self.commitment}; checked with the key"),
                ),
                tail=not self.decoys,
            )
            for one in self.suspects
        )  # fmt: skip
        null = (
            "the chance that text made without the key leans its way so often: by the binomial tail over distinct "
            "n-grams, or by fresh keys; the larger, adjusted for all suspects by Holm"
        )
        return Said(title="Watermark of a sampler", null=null, level=self.level, findings=findings)


def radioactivity(
    ledger: Place,
    suspects: Sequence[Model],
    *,
    service: Model,
    key: Key | Place,
    options: RadioactivityOptions | None = None,
    ask: AskOptions | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> RadioactivityReport:
    """Test whether suspects were trained on what a watermarked sampler wrote.

    Args:
      ledger:   that ``shield`` wrote, with ``mode`` "green" or "synthid".
      suspects: each as ``resolve`` reads it, http(s)://... of a server, or FILE.jsonl of {"query", "answer"}.
      service:  the model that was sampled, or a folder with its configuration and tokenizer.
      key:      of the ledger.
      options:  fixed before anybody is asked.
      ask:      how models are asked.
      download: fetch models that the local cache lacks.
      progress: called with (keys counted, keys in all); a suspect is judged under its own key and all fresh ones.
    Raises: BadReport, BadKey (another key than the ledger's), UsageError, ServiceFailed, CheckpointError.
    """
    options, ask = options or RadioactivityOptions(), ask or AskOptions()
    check_suspected(suspects)
    record, source = read_ledger_file(ledger)
    if record.head.mode not in SAMPLED:
        what = f"its answers hold words, by --mode {record.head.mode}"
        raise UsageError(what, where=ledger, remedy="use `watermark verify`")
    if record.head.mode == SYNTHID and not options.decoys:
        what = "without fresh keys there is no null: bits of synthid come from a table, and their tail is no chance"
        raise UsageError(what, where="--decoys", remedy="give some, such as 199")
    check_decidable(1 / (options.decoys + 1) if options.decoys else 0.0, options.level, suspects)
    drawn = SamplingKey(key=held_key(key), scheme=record.head.mode)
    check_commitment(drawn, record, ledger)
    with opened(service, download=download) as (checkpoint,):
        tokenizer, vocabulary = load_tokenizer(checkpoint), vocabulary_size(checkpoint.config)
        if vocabulary is None:
            where = checkpoint.path / "config.json"
            raise BadConfig("it names no vocab_size", where=where, remedy="give the model that was sampled")
        sampled = ProvenanceInput(role="service", name=checkpoint.name, content_digest=checkpoint.content_digest())

    def processor(key: SamplingKey) -> Any:
        return sampler_processor(key.scheme, key.numbers(), vocabulary)

    def tokens(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    served = [tokens(row.answer) for row in record.rows]
    queries = [row.query for row in drawn_rows(record.rows, drawn, options.queries)]
    inputs, tests = [source, sampled], {}
    with shown(progress, "judging") as step:
        keys = count(1)

        def judged() -> None:
            step(next(keys), len(suspects) * (options.decoys + 1))

        for model in suspects:
            answers, who = said_by(model, queries, ask, download=download)
            inputs.append(who)
            said = [tokens(answer) for answer in answers]
            tests[as_given(model)] = radioactivity_test(
                said, served, drawn, vocabulary=vocabulary, processor=processor, decoys=options.decoys, judged=judged
            )
    flags = {**asked_flags(suspects, key, ask, AskOptions()), "--service": as_given(service)}
    return RadioactivityReport(
        claim=CLAIM,
        assumed=ASSUMED,
        not_proved=_NOT_PROVED,
        resolution=_resolution(options.decoys),
        command=command_line("watermark radioactivity", ledger, flags, options),
        inputs=tuple(inputs),
        ledger=Path(ledger).name,
        made=record.head.made,
        commitment=record.head.commitment,
        mode=record.head.mode,
        queries=len(queries),
        decoys=options.decoys,
        level=options.level,
        suspects=tuple(
            LeaningSuspect(name=name, radioactive=declared, adjusted=p, test=test)
            for name, test, p, declared in verdicts(tests, options.level)
        ),
    )


def _resolution(decoys: int) -> str:
    """Return how small a p can be."""
    if decoys:
        return f"it is counted among {decoys} fresh keys, so it cannot be below {1 / (decoys + 1):.2g}"
    return (
        "it is the tail of a binomial distribution, which takes n-grams to be drawn one by one: an assumption, so no "
        f"p below {LEAST_TAIL:g} is stated; no fresh key was counted"
    )
