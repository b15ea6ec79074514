"""A language model that is asked texts: a folder, a name of the hub, a server by its address, or what it said."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from mergebarrier.api.base.command_line import Given
from mergebarrier.api.base.evidence import EvidenceFinding, ProvenanceInput
from mergebarrier.api.base.folders import Model, as_given, opened
from mergebarrier.api.base.hub import at_hub
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import UnsupportedFeature, UsageError, clean
from mergebarrier.evaluate import (
    ModuleSuspect,
    ServedSuspect,
    Suspect,
    compute_dtype,
    continues_text,
    load_module,
    load_tokenizer,
    marks,
    read_text,
)
from mergebarrier.keys import Key
from mergebarrier.numerics import holm
from mergebarrier.watermark import read_pairs

#: What a finding assumes of whoever was asked.
HEARD: Final = "what a server or a file of answers says is what the suspect of that name says"


_ROUNDED: Final = 1 + 1e-9


class Tested(Protocol):
    """What a test of one suspect says: a p-value, among other things."""

    @property
    def p(self) -> float:
        """Return the chance of so much under the test's null."""


_Tested = TypeVar("_Tested", bound=Tested)


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """How a model is asked; of a server, what it cannot say itself.

    Attributes:
      max_tokens: of an answer.
      interface:  "chat" or "completions", of a server.
      served_as:  the server's name of the model; "" for the first that it lists.
    """

    max_tokens: int = 128
    interface: str = "chat"
    served_as: str = ""


def asked_flags(
    suspects: Sequence[Model], key: Key | str | os.PathLike[str] | None, ask: AskOptions, plain: AskOptions
) -> dict[str, Given | tuple[Given, ...]]:
    """Return who was asked and how as the command line says it: what ``plain`` says already is None."""
    how = {
        f"--{name.replace('_', '-')}": value if value != getattr(plain, name) else None
        for name, value in vars(ask).items()
    }
    return {"--suspect": tuple(map(as_given, suspects)), "--key": None if isinstance(key, Key) else key, **how}


def check_suspected(suspects: Sequence[Model], nulls: Sequence[Model] = ()) -> None:
    """Refuse evidence about nobody, and a model that counts twice.  Raises: UsageError."""
    if not suspects:
        raise UsageError("nobody is suspected", where="--suspect", remedy="give a model, a server or a file")
    places = set[str]()
    for name in map(as_given, (*suspects, *nulls)):
        if _place(name) in places:
            raise UsageError(f"{clean(name)} is given twice", where="--suspect", remedy="give each model once")
        places.add(_place(name))


def check_decidable(least: float, level: float, suspects: Sequence[Model]) -> None:
    """Refuse a test that could declare nobody, whatever is answered: its silence would be taken for a finding.

    Args:
      least:    p that it cannot go below for one suspect.
      level:    at which a suspect is declared.
      suspects: all of them; Holm's procedure multiplies the least of their p by their number.
    Raises: UsageError.
    """
    if (best := min(1.0, least * len(suspects))) > level * _ROUNDED:
        what = f"{level:g} cannot be reached: no p of these numbers is below {best:.2g}"
        raise UsageError(what, where="--level", remedy="draw more, ask fewer suspects at once, or give a higher level")


def _place(name: str) -> str:
    """Return one spelling of a file, a folder, a model of the Hub or a server, so that each counts once."""
    return os.path.realpath(name) if os.path.exists(name) else at_hub(name).rstrip("/")


def read_evidence(file: str | os.PathLike[str], role: str) -> tuple[str, ProvenanceInput]:
    """Read a file that evidence rests on: its text, and what it is in the evidence."""
    text = read_text(file)
    return text, _input(role, Path(file).name, hashlib.sha256(text.encode()).hexdigest())


def is_server(name: str) -> bool:
    """Say whether a name is the address of a server, and not that of a model of the Hub."""
    return name.startswith(("http://", "https://")) and at_hub(name) == name


@contextmanager
def asked_model(model: Model, ask: AskOptions, *, download: bool = False) -> Iterator[Suspect]:
    """Give what answers: a server by its address, or a model of this machine."""
    if isinstance(model, str) and is_server(model):
        yield ServedSuspect(url=model, model=ask.served_as, interface=ask.interface)
        return
    with opened(model, download=download) as (checkpoint,):
        yield _suspect(checkpoint)


def said_by(
    model: Model, queries: Sequence[str], ask: AskOptions, *, role: str = "suspect", download: bool = False
) -> tuple[list[str], ProvenanceInput]:
    """Return what somebody says to queries as users would ask them, and who it was.

    Args:
      model:    as ``resolve`` reads it, http(s)://... of a server, or FILE.jsonl of {"query", "answer"}.
      queries:  in the order of the answers.
      ask:      how it is asked.
      role:     in the evidence.
      download: fetch a model that the local cache lacks.
    Raises: UsageError for a file that lacks a query; BadReport, ServiceFailed, CheckpointError.
    """
    name = as_given(model)
    if not isinstance(model, Checkpoint) and name.endswith(".jsonl"):
        text, who = read_evidence(name, role)
        pairs = read_pairs(text, where=name)
        if absent := [query for query in queries if query not in pairs]:
            what = f"{len(absent)} of the {len(queries)} queries are not answered"
            raise UsageError(what, where=name, remedy="ask the suspect all queries, or fewer of them")
        return [pairs[query] for query in queries], who
    if is_server(name):
        with asked_model(model, ask) as suspect:
            said = suspect.answers(queries, max_tokens=ask.max_tokens)
        return said, _input(role, name, _heard(queries, said))
    with opened(model, download=download) as (checkpoint,):
        said = _suspect(checkpoint).answers(queries, max_tokens=ask.max_tokens)
        return said, _input(role, checkpoint.name, checkpoint.content_digest())


def verdicts(tests: Mapping[str, _Tested], level: float) -> Iterator[tuple[str, _Tested, float, bool]]:
    """Yield each suspect with its test, its p adjusted for all of them by Holm, and whether it is declared."""
    for (name, test), p in zip(tests.items(), holm([test.p for test in tests.values()]), strict=True):
        yield name, test, p, p <= level


def finding_of(
    name: str, holds: bool, p: float, says: Mapping[bool, str], figures: Sequence[tuple[str, str] | None],
    *, tail: bool = False,
) -> EvidenceFinding:  # fmt: skip
    """Return what is found of one suspect; a figure that there is not is None."""
    told = tuple(one for one in figures if one is not None)
    return EvidenceFinding(about=name, says=f"{name} {says[holds]}", holds=holds, p=p, tail=tail, figures=told)


def _input(role: str, name: str, digest: str) -> ProvenanceInput:
    return ProvenanceInput(role=role, name=name, content_digest=digest)


def _heard(queries: Sequence[str], said: Sequence[str]) -> str:
    """Return the digest that a file of these answers has: of a server nothing else can be held against the evidence."""
    pairs = zip(queries, said, strict=True)
    lines = (json.dumps({"query": query, "answer": answer}) + "\n" for query, answer in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _suspect(checkpoint: Checkpoint) -> ModuleSuspect:
    """Return a model of this machine as one that answers."""
    module = load_module(checkpoint, compute_dtype("auto"))
    if not continues_text(module):
        what = f"{type(module).__name__} continues no text, so it cannot be asked"
        raise UnsupportedFeature(what, where=checkpoint.path, remedy="give a causal language model")
    return ModuleSuspect(module, load_tokenizer(checkpoint), ends=marks(checkpoint.config))
