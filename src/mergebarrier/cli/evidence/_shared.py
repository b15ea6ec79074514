"""Options that verbs of evidence share: how a model is asked, and the page and document that a finding is put on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._options import MODEL
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.api import AskOptions
    from mergebarrier.api.base import ProvenanceEvidence

_Verb = Callable[..., object]


def ask_options(*, interface: str, max_tokens: int | None) -> Callable[[_Verb], _Verb]:
    """Return what adds how a model is asked; ``asked`` takes the values."""

    def add(verb: _Verb) -> _Verb:
        options: list[Callable[[_Verb], _Verb]] = [
            click.option(
                "--interface",
                type=click.Choice(("chat", "completions")),
                default=interface,
                show_default=True,
                help="Of a server.",
            ),
            click.option(
                "--served-as", default="", metavar="NAME", help="The server's name of the model. [default: first]"
            ),
        ]
        if max_tokens is not None:
            counts = click.IntRange(1, 4096)
            help_text = "Of an answer."
            options.insert(
                0, click.option("--max-tokens", type=counts, default=max_tokens, show_default=True, help=help_text)
            )
        for option in reversed(options):
            verb = option(verb)
        return verb

    return add


def asked(given: dict[str, Any]) -> "AskOptions":
    """Take the options of ``ask_options`` out of what was given."""
    from mergebarrier.api import AskOptions

    return AskOptions(**{name: given.pop(name) for name in ("max_tokens", "interface", "served_as") if name in given})


def suspects_option(metavar: str, help_text: str) -> Callable[[_Verb], _Verb]:
    """Return what adds who is suspected: as many as there are."""
    return click.option("--suspect", "suspects", multiple=True, required=True, metavar=metavar, help=help_text)


def closing(report: "ProvenanceEvidence") -> Iterator[str]:
    """Yield the last lines of every piece of evidence."""
    yield f"how small p can be: {report.resolution}"
    yield f"assumed: {'; '.join(report.assumed)}"
    yield f"not proved: {'; '.join(report.not_proved)}"


def statement_options(verb: _Verb) -> _Verb:
    """Add ``--page`` and ``--sign``; ``state`` takes them."""
    page = click.option(
        "--page", type=MODEL, metavar="DIR", help="Also write the evidence as one page and one JSON, into DIR."
    )
    sign = click.option("--sign", type=MODEL, metavar="KEY.pem", help="Sign DIR, into DIR.sig, by model-signing.")
    return page(sign(verb))


def state(report: "ProvenanceEvidence", output: Output, page: Path | None, sign: Path | None) -> None:
    """Write the page where one was asked for."""
    from mergebarrier.api import write_statement

    if page is not None:
        written = write_statement(report, page, key=sign)
        output.note(f"{'statement' if sign is None else 'signed'}: {written}")


def check_statement(page: Path | None, sign: Path | None) -> None:
    """Refuse what could not be written or signed before anything is computed."""
    from mergebarrier.api import check_page

    if page is not None:
        check_page(page, sign)
    elif sign is not None:
        raise UsageError("there is nothing to sign", where="--sign", remedy="give --page DIR too")
