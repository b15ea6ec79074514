"""``imitation``: did a suspect learn from the answers of a watermarked service?

report = mb.imitation("ledger.jsonl", ["suspect"], key="owner.mbkey")
report.suspects[0].test.p
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from mergebarrier.api.base import (
    AskOptions,
    EvidenceFinding,
    Given,
    Model,
    ProvenanceEvidence,
    Row,
    Said,
    as_given,
    ask_flags,
    check_suspected,
    command_line,
    held_key,
    p_value,
    read_evidence,
    said_by,
    shown,
    verdicts,
)
from mergebarrier.api.watermark.ledger_file import check_commitment
from mergebarrier.errors import UsageError
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
    read_ledger,
)

Place = str | os.PathLike[str]

CLAIM: Final = "the suspect was trained on answers of the watermarked service"
ASSUMED: Final = (
    "the key was drawn before the suspect's makers could know it, and its commitment was published then",
    "numbers of queries, permutations and the level were fixed before the suspect was asked",
)
NOT_PROVED: Final = (
    "who trained the suspect, when, and whether it was allowed",
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
            ("queries", f"{self.queries}, of a ledger begun {self.made}"),
            ("commitment", f"{self.commitment or 'none'}; {checked}"),
        )
        findings = tuple(
            EvidenceFinding(
                about=one.name,
                says=f"{one.name} {_SAYS[one.imitates]}",
                holds=one.imitates,
                p=one.adjusted,
                figures=(
                    ("words of its own queries cover", f"{one.test.score:.2%} of an answer"),
                    ("words of other queries cover", f"{one.test.null_mean:.2%}"),
                    (f"{self.permutations} pairings", p_value(one.test.p_pairing)),
                    *([] if one.test.p_decoys is None else [(f"{self.decoys} fresh keys", p_value(one.test.p_decoys))]),
                    *common,
                ),
            )
            for one in self.suspects
        )
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
      key:        of the ledger; needed for decoys, and to check the commitment.
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
    check_suspected(suspects)
    text, source = read_evidence(ledger, "ledger")
    record = read_ledger(text, where=ledger)
    if record.head.mode in SAMPLED:
        what = f"its answers were drawn by a {record.head.mode} sampler and hold no words"
        raise UsageError(what, where=ledger, remedy="use `watermark radioactivity`")
    words = _word_key(record, key, ledger)
    rows = _chosen(record, words, options.queries)
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
    return ImitationReport(
        claim=CLAIM,
        assumed=ASSUMED,
        not_proved=NOT_PROVED,
        command=command_line("watermark verify", ledger, _given(suspects, key, others, ask, seed), options),
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


def _given(
    suspects: Sequence[Model], key: Key | Place | None, others: Mapping[str, Model | None], ask: AskOptions, seed: int
) -> dict[str, Given | tuple[Given, ...]]:
    """Return what the command line was given, as ``command_line`` writes it; a key by the name of its file alone."""
    return {
        "--suspect": tuple(map(as_given, suspects)),
        "--key": None if isinstance(key, Key) else key,
        **{f"--{name}": None if model is None else as_given(model) for name, model in others.items()},
        "--seed": seed or None,
        **ask_flags(ask, AskOptions()),
    }


def _word_key(record: Ledger, given: Key | Place | None, ledger: Place) -> WordKey | None:
    """Return the key of a ledger, once it has been held against the commitment."""
    if given is None:
        return None
    words = WordKey(key=held_key(given), pool=listed_words())
    check_commitment(words, record, ledger)
    return words


def _chosen(record: Ledger, words: WordKey | None, count: int) -> list[Shielded]:
    """Return the queries that a suspect is asked, in an order that the key draws, or that of the ledger."""
    rows = [row for row in record.rows if row.words]
    if words is not None:
        rows.sort(key=lambda row: words.key.subkey(b"order", row.query))
    return rows[:count]


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
            count=max(len(row.words) for row in rows),
            pool=words.pool,
        ),
    )
