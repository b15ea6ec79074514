"""``imitation``: did a suspect learn from the answers of a watermarked service?

report = mb.imitation("ledger.jsonl", ["suspect"], key="owner.mbkey")
report.suspects[0].test.p
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from mergebarrier.api.base import (
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
    p_value,
    said_by,
    shown,
    verdicts,
)
from mergebarrier.api.watermark.ledger_file import ASSUMED, NOT_PROVED, check_commitment, drawn_rows, read_ledger_file
from mergebarrier.errors import BadReport, UsageError
from mergebarrier.keys import Key
from mergebarrier.progress import Progress
from mergebarrier.watermark import (
    SAMPLED,
    Asking,
    KeyedQuery,
    Ledger,
    PairingOptions,
    PairingTest,
    PublishedTest,
    Shielded,
    WordKey,
    covered,
    listed_words,
    pairing_test,
    published_test,
)

Place = str | os.PathLike[str]

CLAIM: Final = "the suspect was trained on answers of the watermarked service"
_NOT_PROVED: Final = (
    *NOT_PROVED,
    "that a suspect did not learn from the service where p is large: few such answers among many, or words taken out, "
    "hide it",
)
_SAYS: Final = {True: "answers with the words of the service", False: "shows no evidence of the service's words"}


@dataclass(frozen=True, kw_only=True)
class SuspectAnswers:
    """What one suspect's answers say.

    Attributes:
      name:      as given.
      imitates:  whether the adjusted p is at most the level.
      adjusted:  p by Holm over all suspects.
      test:      with its null.
      published: what the published tests say of the same answers.
    """

    name: str
    imitates: bool
    adjusted: float
    test: PairingTest
    published: PublishedTest


@dataclass(frozen=True, kw_only=True)
class ImitationReport(ProvenanceEvidence):
    """Which suspects answer as if they had learned from the service.

    Attributes:
      ledger:     with its commitment and the date of its first line.
      committed:  whether key and pool are those of the commitment; None where there is no key.
      queries, permutations, decoys, level: as fixed before.
      suspects:   in the order given.
    """

    kind: ClassVar[str] = "imitation"

    ledger: str
    made: str
    commitment: str
    committed: bool | None
    queries: int
    permutations: int
    decoys: int
    level: float
    suspects: tuple[SuspectAnswers, ...]

    def rows(self) -> Sequence[Row]:
        """Return one row per suspect."""
        return [
            {"name": one.name, "imitates": one.imitates, "adjusted": one.adjusted, **vars(one.test)}
            for one in self.suspects
        ]

    def said(self) -> Said:
        """Return what the statement says."""
        checked = "checked with the key" if self.committed else "not checked, no key was given"
        common = (
            ("queries", f"{self.queries}, of a ledger that is dated {self.made} by its owner"),
            ("commitment", f"{self.commitment or 'none'}; {checked}"),
        )
        findings = tuple(
            finding_of(
                one.name, one.imitates, one.adjusted, _SAYS,
                (
                    ("words of its own queries cover", f"{one.test.score:.2%} of an answer"),
                    ("words of other queries cover", f"{one.test.null_mean:.2%}"),
                    (f"{self.permutations} pairings", p_value(one.test.p_pairing)),
                    None if one.test.p_decoys is None else (f"{self.decoys} fresh keys", p_value(one.test.p_decoys)),
                    *common,
                ),
            )
            for one in self.suspects
        )  # fmt: skip
        null = (
            "the chance that answers hold the words of their own queries so often when words and queries are paired at "
            "random, or when a fresh key draws the words; the larger, adjusted for all suspects by Holm"
        )
        return Said(title="Words of a watermarked service", null=null, level=self.level, findings=findings)


def imitation(
    ledger: Place,
    suspects: Sequence[Model],
    *,
    key: Key | Place | None = None,
    base: Model | None = None,
    legitimate: Model | None = None,
    options: PairingOptions | None = None,
    ask: AskOptions | None = None,
    seed: int = 0,
    download: bool = False,
    progress: Progress | None = None,
) -> ImitationReport:
    """Test whether suspects learned from a watermarked service.

    Args:
      ledger:     that ``shield`` wrote.
      suspects:   each as ``resolve`` reads it, http(s)://... of a server, or FILE.jsonl of {"query", "answer"}.
      key:        of the ledger, where a key drew its words.
      base:       model that the suspects may have started from, for the published test.
      legitimate: model trained on plain answers, for the published test.
      options:    fixed before anybody is asked.
      ask:        how models are asked.
      seed:       of permutations and decoys.
      download:   fetch models that the local cache lacks.
      progress:   called with (suspects asked, suspects in all).
    Raises: BadReport, BadKey (another key than the ledger's), UsageError, ServiceFailed, CheckpointError.
    """
    options, ask = options or PairingOptions(), ask or AskOptions()
    check_suspected(suspects, [model for model in (base, legitimate) if model is not None])
    record, source = read_ledger_file(ledger)
    if record.head.mode in SAMPLED:
        what = f"its answers were drawn by a {record.head.mode} sampler and hold no words"
        raise UsageError(what, where=ledger, remedy="use `watermark radioactivity`")
    words = _word_key(record, key, ledger)
    drawn = min(options.permutations, options.decoys if words is not None and options.decoys else options.permutations)
    check_decidable(1 / (drawn + 1), options.level, suspects)
    rows = drawn_rows((row for row in record.rows if row.words), words, options.queries)
    others = {"base": base, "legitimate": legitimate}
    compared = {name: model for name, model in others.items() if model is not None}
    scores, theirs, tests, queries = {}, {}, {}, [row.query for row in rows]
    inputs = [source]
    with shown(progress, "asking") as step:
        everybody = [*compared.items(), *((None, model) for model in suspects)]
        for done, (role, model) in enumerate(everybody, 1):
            said, seen = said_by(model, queries, ask, role=role or "suspect", download=download)
            inputs.append(seen)
            found = [covered(text, row.words) for text, row in zip(said, rows, strict=True)]
            if role is None:
                scores[as_given(model)] = found
                tests[as_given(model)] = _tested(said, rows, words, options, seed)
            else:
                theirs[role] = found
            step(done, len(everybody))
    named = {f"--{name}": as_given(model) for name, model in compared.items()}
    flags = {**asked_flags(suspects, key, ask, AskOptions()), **named, "--seed": seed or None}
    return ImitationReport(
        claim=CLAIM,
        assumed=ASSUMED,
        not_proved=_NOT_PROVED,
        resolution=(
            f"it is counted among {options.permutations} pairings"
            + (f" and {options.decoys} fresh keys" if words is not None and options.decoys else "")
            + f", so it cannot be below {1 / (drawn + 1):.2g}"
        ),
        command=command_line("watermark verify", ledger, flags, options),
        inputs=tuple(inputs),
        ledger=Path(ledger).name,
        made=record.head.made,
        commitment=record.head.commitment,
        committed=None if words is None else True,
        queries=len(rows),
        permutations=options.permutations,
        decoys=options.decoys if words is not None else 0,
        level=options.level,
        suspects=tuple(
            SuspectAnswers(
                name=name,
                imitates=declared,
                adjusted=p,
                test=test,
                published=published_test(
                    scores[name], base=theirs.get("base", ()), legitimate=theirs.get("legitimate", ())
                ),
            )
            for name, test, p, declared in verdicts(tests, options.level)
        ),
    )


def _word_key(record: Ledger, given: Key | Place | None, ledger: Place) -> WordKey | None:
    """Return the key of a ledger, once commitment and words have been held against it.

    The commitment is to key and pool alone: words that were written into a ledger later would be those of an answer.
    """
    if given is None and record.head.commitment:
        what = "without the key nobody can tell whether these words were drawn before the suspect was heard"
        raise UsageError(what, where="--key", remedy="give the key that `watermark shield` used")
    if given is None:
        return None
    words = WordKey(key=held_key(given), pool=listed_words())
    check_commitment(words, record, ledger)
    for number, row in enumerate(record.rows, 2):
        if row.words != words.words(KeyedQuery.of(row.query), record.head.words):
            what = "its words are not those that the key draws for its query"
            raise BadReport(what, where=f"{ledger} line {number}", remedy="give the ledger as it was written")
    return words


def _tested(
    said: Sequence[str], rows: Sequence[Shielded], words: WordKey | None, options: PairingOptions, seed: int
) -> PairingTest:
    return pairing_test(
        said,
        [row.words for row in rows],
        options=options,
        seed=seed,
        strata=[row.stratum for row in rows],
        asking=None
        if words is None
        else Asking(
            queries=tuple(KeyedQuery.of(row.query) for row in rows),
            count=max((len(row.words) for row in rows), default=0),
            pool=words.pool,
        ),
    )
