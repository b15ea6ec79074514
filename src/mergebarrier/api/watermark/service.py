"""``shield``: let a model answer with words that belong to each query, or by a watermarked sampler, and record it.

mb.shield("queries.jsonl", "http://127.0.0.1:8000/v1", "ledger.jsonl", key="owner.mbkey")
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from mergebarrier.api.base import AskOptions, Model, Report, as_given, asked_model, owned_key, shown
from mergebarrier.api.watermark.ledger_file import LedgerFile
from mergebarrier.errors import BadKey, ServiceFailed, UsageError
from mergebarrier.evaluate import ModuleSuspect, SampledSuspect, Suspect, read_text, sampler_watermark
from mergebarrier.keys import Key
from mergebarrier.progress import Progress
from mergebarrier.watermark import (
    GREEN,
    SAMPLED,
    KeyedQuery,
    LedgerHead,
    Query,
    SamplingKey,
    Shielded,
    ShieldOptions,
    WordKey,
    found_words,
    keyed_request,
    listed_words,
    own_words,
    plain_request,
    published_request,
    read_queries,
)

Place = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class ShieldReport(Report):
    """What a service answered, and how well its words are in its answers.

    Attributes:
      ledger:      the record that only its owner should hold.
      asked:       queries answered now; ``kept`` were in the ledger before.
      with_words:  share of all answers that have words.
      delivered:   share of the words that stand in their answers; None where no answer has words.
      commitment:  to publish, with a date, before the service opens; "" where there is no key.
      key_file:    path of the key; None where the model chooses the words.
      key_made:    whether it was made just now.
    """

    kind: ClassVar[str] = "shield"

    ledger: Path
    asked: int
    kept: int
    with_words: float
    delivered: float | None
    commitment: str
    key_file: Path | None
    key_made: bool


def shield(
    queries: Place,
    model: Model,
    ledger: Place,
    *,
    key: Key | Place | None = None,
    options: ShieldOptions | None = None,
    ask: AskOptions | None = None,
    reference: Place | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> ShieldReport:
    """Let a model answer queries with words that belong to each, and record them.

    Args:
      queries:   JSON lines of {"query", "stratum"}.
      model:     as ``resolve`` reads it, or http(s)://... of a server.
      ledger:    file to write; one that is there is gone on with, if it was made with the same key and options.
      key:       file, made if absent; none where the model chooses the words.
      options:   who chooses, how many, and the template.
      ask:       how the model is asked.
      reference: plain text whose frequent words do not count, where the model chooses.
      download:  fetch a model that the local cache lacks.
      progress:  called with (queries answered, queries in all).
    Raises: BadReport for a file that does not fit, BadKey, ServiceFailed, BadText, OutputExists, CheckpointError.
    """
    options, ask = options or ShieldOptions(), ask or AskOptions()
    keyed, sampled = options.mode == "keyed", options.mode in SAMPLED
    if (keyed or sampled) == (key is None):
        what = "the model chooses the words, so there is no key" if key else f"--mode {options.mode} draws from a key"
        raise UsageError(what, where="--key", remedy="leave --key out" if key else "give --key FILE")
    if reference is not None and options.mode != "published":
        what = f"--mode {options.mode} draws its words, whatever is frequent" if keyed else "a sampler has no words"
        raise UsageError(what, where="--reference", remedy="leave it out, or give --mode published")
    asked = read_queries(read_text(queries), where=queries)
    counts = None if reference is None else Counter(read_text(reference).casefold().split())
    if os.path.lexists(ledger):  # what cannot be gone on with is refused before a key is made
        LedgerFile.read(Path(ledger))
        if isinstance(key, str | os.PathLike) and not os.path.lexists(key):
            what = "it is not there, and a key made now did not draw the words of the ledger that is"
            raise BadKey(what, where=key, remedy="give the key of that ledger, or another --ledger")
    # The model is opened before key and ledger are made: one that is not there leaves neither.
    with asked_model(model, ask, download=download) as suspect, shown(progress, "asking") as step:
        if sampled and not isinstance(suspect, ModuleSuspect):
            raise UsageError("a server draws its own tokens", where="MODEL", remedy="give the model's folder")
        secret, place, made = (None, None, False) if key is None else owned_key(key)
        drawn: WordKey | SamplingKey | None = None
        if secret is not None and keyed:
            drawn = WordKey(key=secret, pool=listed_words())
        elif secret is not None:
            drawn = SamplingKey(key=secret, scheme=options.mode)
        if isinstance(drawn, SamplingKey) and isinstance(suspect, ModuleSuspect):
            suspect = SampledSuspect(
                suspect, watermark=sampler_watermark(drawn.scheme, drawn.numbers(options.bias)), seed=drawn.seed
            )
        file = LedgerFile.open(Path(ledger), _head(drawn, options))
        left = [query for query in asked if query.query not in file.answered]
        kept = len(asked) - len(left)
        for done, query in enumerate(left, kept + 1):
            file.add(_answered(query, suspect, drawn, options, ask.max_tokens, counts))
            step(done, len(asked))
    rows = [row for row in file.rows if row.words]
    if len(file.rows) and not sampled and not any(set(row.words) & found_words(row.answer) for row in rows):
        what = f"in {len(file.rows)} answers stands none of their words, so nobody who learns from them can be told"
        raise ServiceFailed(what, where=as_given(model), remedy="give a --template that this model follows")
    present = sum(word in found_words(row.answer) for row in rows for word in row.words)
    return ShieldReport(
        ledger=Path(ledger),
        asked=len(left),
        kept=kept,
        with_words=len(rows) / max(1, len(file.rows)),
        delivered=present / sum(len(row.words) for row in rows) if rows else None,
        commitment=file.head.commitment,
        key_file=place,
        key_made=made,
    )


def _head(drawn: WordKey | SamplingKey | None, options: ShieldOptions) -> LedgerHead:
    return LedgerHead(
        mode=options.mode,
        words=options.words if isinstance(drawn, WordKey) else 0,
        template=options.template,
        commitment="" if drawn is None else drawn.commitment(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        bias=options.bias if options.mode == GREEN else None,
    )


def _answered(
    query: Query, suspect: Suspect, drawn: WordKey | SamplingKey | None, options: ShieldOptions, tokens: int,
    reference: Mapping[str, int] | None,
) -> Shielded:  # fmt: skip
    chosen: tuple[str, ...] = ()
    if isinstance(drawn, WordKey):
        chosen = drawn.words(KeyedQuery.of(query.query), options.words)
        (answer,) = suspect.answers([keyed_request(query.query, chosen, options)], max_tokens=tokens)
    elif isinstance(drawn, SamplingKey):
        (answer,) = suspect.answers([plain_request(query.query, options)], max_tokens=tokens)
    else:
        (reply,) = suspect.answers([published_request(query.query, options)], max_tokens=tokens)
        answer, chosen, _ = own_words(reply, query.query, reference=reference)
    return Shielded(query=query.query, answer=answer, words=chosen, stratum=query.stratum)
