"""``mergebarrier watermark``: words that a service weaves into its answers, and the test of who learned from them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mergebarrier.cli._options import MODEL, download_option, output_options, threads_option
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import chosen, parameter_options
from mergebarrier.cli.evidence._shared import (
    ask_options,
    asked,
    check_statement,
    closing,
    state,
    statement_options,
    suspects_option,
)
from mergebarrier.errors import clean
from mergebarrier.parameters import built
from mergebarrier.watermark import PairingOptions, RadioactivityOptions, ShieldOptions

if TYPE_CHECKING:
    from mergebarrier.api import ImitationReport, RadioactivityReport, ShieldReport

__all__ = ["command"]

_SHIELD: Final = {"shield": ShieldOptions}
_VERIFY: Final = {"verify": PairingOptions}
_RADIOACTIVITY: Final = {"radioactivity": RadioactivityOptions}


@click.group()
def command() -> None:
    """Evidence against a model that learned from your service's answers: shield them, verify a suspect.

    A MODEL is a folder, a name of the Hub, or http(s)://... of a server that speaks OpenAI's protocol; a secret for it
    is read from OPENAI_API_KEY.
    """


@command.command("shield")
@click.argument("queries", type=MODEL)
@click.argument("model")
@click.option("--ledger", type=MODEL, required=True, metavar="FILE", help="The record; a stopped run goes on with it.")
@click.option("--key", type=MODEL, metavar="FILE", help="Draws the words, or leans the sampler; made if absent (0600).")
@click.option(
    "--reference",
    type=MODEL,
    metavar="FILE",
    help="Plain text whose frequent words do not count, with --mode published.",
)
@ask_options(interface="chat", max_tokens=128)
@parameter_options(_SHIELD)
@download_option
@threads_option
@output_options
def shield_command(
    queries: Path, model: str, ledger: Path, key: Path | None, reference: Path | None, download: bool, threads: int,
    output: Output, **given: Any,
) -> None:  # fmt: skip
    """Let MODEL answer QUERIES, lines of {"query": "...", "stratum": "..."}, with words that belong to each.

    With --mode green or synthid the key leans the sampler of a MODEL of this machine instead, and no word is asked for.

    Publish the commitment with its date before the service opens, and keep key and ledger to yourself.
    """
    from mergebarrier.api import shield

    del threads
    ask = asked(given)
    options = built(ShieldOptions, chosen(_SHIELD, "shield", given))
    with output.progress("asking") as progress:
        report = shield(
            queries, model, ledger, key=key, options=options, ask=ask, reference=reference, download=download,
            progress=progress,
        )  # fmt: skip
    if report.key_file is not None:
        output.note(f"key {'made' if report.key_made else 'read'}: {report.key_file}")
    output.result(report, "\n".join(_shielded(report)))


def _shielded(report: "ShieldReport") -> Iterator[str]:
    yield f"{report.ledger}: {report.asked} queries answered now, {report.kept} before"
    if report.delivered is not None:
        stand = f"{report.delivered:.1%} of the words stand in their answers"
        yield f"  {report.with_words:.1%} of the answers have words; {stand}"
    if report.commitment:
        yield f"  commitment {report.commitment}: publish it now"


@command.command("verify")
@click.argument("ledger", type=MODEL)
@suspects_option("MODEL|FILE.jsonl", 'A model, or its answers as lines of {"query", "answer"}; repeatable.')
@click.option("--key", type=MODEL, metavar="FILE", help="Of the ledger: checks the commitment, draws decoys.")
@click.option("--base", metavar="MODEL", help="What the suspects may have started from, for the published test.")
@click.option("--legitimate", metavar="MODEL", help="A model trained on plain answers, for the published test.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of permutations and decoys.")
@ask_options(interface="chat", max_tokens=128)
@parameter_options(_VERIFY)
@statement_options
@download_option
@threads_option
@output_options
def verify_command(
    ledger: Path, suspects: tuple[str, ...], key: Path | None, base: str | None, legitimate: str | None, seed: int,
    page: Path | None, sign: Path | None, download: bool, threads: int, output: Output, **given: Any,
) -> int:  # fmt: skip
    """Ask suspects the queries of LEDGER, and test whether they answer with the words of each; exit 1 if one does.

    The published tests of ModelShield are shown beside it; their p is no rate of false alarm.
    """
    from mergebarrier.api import imitation

    del threads
    check_statement(page, sign)
    ask = asked(given)
    options = built(PairingOptions, chosen(_VERIFY, "verify", given))
    with output.progress("asking") as progress:
        report = imitation(
            ledger, suspects, key=key, base=base, legitimate=legitimate, options=options, ask=ask, seed=seed,
            download=download, progress=progress,
        )  # fmt: skip
    state(report, output, page, sign)
    output.result(report, "\n".join(_verified(report)))
    return int(any(one.imitates for one in report.suspects))


def _verified(report: "ImitationReport") -> Iterator[str]:
    said = {True: "the key is the one committed to", None: "no key given, so the commitment was not checked"}
    yield f"{clean(report.ledger)}: {report.queries} queries, begun {clean(report.made)}; {said[report.committed]}"
    for one in report.suspects:
        verdict = "answers with the words of the service" if one.imitates else "shows no evidence"
        yield f"{clean(one.name)} {verdict}: p = {one.adjusted:.2g} of {len(report.suspects)} suspects together"
        test = one.test
        effect = "" if test.effect is None else f", {test.effect:.1f} standard deviations above"
        covers = f"{test.score:.2%} of an answer, those of other queries {test.null_mean:.2%}"
        yield f"  words of its own queries cover {covers}{effect}"
        decoys = "" if test.p_decoys is None else f", {report.decoys} fresh keys p = {test.p_decoys:.2g}"
        empty = f"{test.empty_frac:.1%} of the answers are empty"
        yield f"  {report.permutations} pairings p = {test.p_pairing:.2g}{decoys}; {empty}"
        rapid = "claims" if one.published.rapid_claims else "does not claim"
        yield f"  the published rapid test {rapid} an imitation (top 1 % cover {one.published.top_mean:.2%})"
    yield from closing(report)


@command.command("radioactivity")
@click.argument("ledger", type=MODEL)
@suspects_option("MODEL|FILE.jsonl", 'A model, or its answers as lines of {"query", "answer"}; repeatable.')
@click.option("--service", required=True, metavar="MODEL", help="What was sampled: its tokenizer reads the answers.")
@click.option("--key", type=MODEL, required=True, metavar="FILE", help="Of the ledger.")
@ask_options(interface="chat", max_tokens=128)
@parameter_options(_RADIOACTIVITY)
@statement_options
@download_option
@threads_option
@output_options
def radioactivity_command(
    ledger: Path, suspects: tuple[str, ...], service: str, key: Path, page: Path | None, sign: Path | None,
    download: bool, threads: int, output: Output, **given: Any,
) -> int:  # fmt: skip
    """Ask suspects the queries of LEDGER, whose sampler was watermarked, and test whether they lean the way of its key.

    Exit 1 if one does.
    """
    from mergebarrier.api import radioactivity

    del threads
    check_statement(page, sign)
    ask = asked(given)
    options = built(RadioactivityOptions, chosen(_RADIOACTIVITY, "radioactivity", given))
    with output.progress("judging") as progress:
        report = radioactivity(
            ledger, suspects, service=service, key=key, options=options, ask=ask, download=download, progress=progress
        )
    state(report, output, page, sign)
    output.result(report, "\n".join(_leaning(report)))
    return int(any(one.radioactive for one in report.suspects))


def _leaning(report: "RadioactivityReport") -> Iterator[str]:
    queries = f"{report.queries} queries, begun {clean(report.made)}"
    yield f"{clean(report.ledger)}: {report.mode} sampler, {queries}; the key is the one committed to"
    for one in report.suspects:
        verdict = "leans the way of the service's key" if one.radioactive else "shows no evidence"
        yield f"{clean(one.name)} {verdict}: p = {one.adjusted:.2g} of {len(report.suspects)} suspects together"
        test = one.test
        effect = "" if test.effect is None else f", {test.effect:.1f} standard deviations above"
        leans = f"{test.score:.2%} of {test.ngrams} distinct n-grams lean that way"
        yield f"  {leans}, under fresh keys {test.null_mean:.2%}{effect}"
        decoys = "" if test.p_decoys is None else f", {report.decoys} fresh keys p = {test.p_decoys:.2g}"
        yield f"  binomial p = {test.p_binomial:.2g}{decoys}; {test.empty_frac:.1%} of the answers are empty"
    yield from closing(report)
