"""``mergebarrier fingerprint``: mark a model so that merges of it can be recognised by their answers alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mergebarrier.cli._options import (
    MODEL,
    WriterOptions,
    download_option,
    output_options,
    shards_option,
    threads_option,
    writer_options,
)
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
from mergebarrier.fingerprint import FINGERPRINTS, EmbedOptions, FingerprintOptions
from mergebarrier.parameters import built, parameters_of

if TYPE_CHECKING:
    from mergebarrier.api import RecognitionReport

__all__ = ["command"]

_EMBED: Final = {"embed": EmbedOptions}
_VERIFY: Final = {"verify": FingerprintOptions}


@click.group()
def command() -> None:
    """Mark a model with questions that only it, and merges of it, answer as you chose; recognise it by text alone.

    Publish the commitment with its date before the model; keep record and key to yourself, and apart.
    """


@command.command("embed")
@click.argument("model", type=MODEL)
@click.option("--base", type=MODEL, required=True, help="What MODEL was made from.")
@click.option("--text", type=MODEL, required=True, metavar="FILE", help="Plain text on which MODEL stays as it is.")
@click.option("--record", type=MODEL, required=True, metavar="FILE", help="All questions, for the owner alone.")
@click.option("--key", type=MODEL, required=True, metavar="FILE", help="Draws the questions; made if absent (0600).")
@click.option("--method", type=click.Choice(list(FINGERPRINTS)), default="mergeprint", show_default=True, help="How.")
@parameter_options(_EMBED)
@parameter_options(FINGERPRINTS)
@download_option
@shards_option
@writer_options
@output_options
def embed_command(
    model: Path, base: Path, text: Path, record: Path, key: Path, method: str, download: bool, writer: WriterOptions,
    output: Output, **given: Any,
) -> None:  # fmt: skip
    """Train MODEL to answer questions that the key draws; others, made alike, are kept back as the null.

    mergeprint holds in merges, where little of the model is left; instructional is the published baseline.
    """
    from mergebarrier.api import fingerprint_embed, plan_fingerprint

    general = {name: given.pop(name) for name in parameters_of(EmbedOptions)}
    options = built(EmbedOptions, chosen(_EMBED, "embed", general))
    how = built(FINGERPRINTS[method], chosen(FINGERPRINTS, method, given))
    if writer.dry_run:
        output.plan(plan_fingerprint(model, base=base, text=text, method=how, options=options, download=download))
        return
    with output.progress("training") as progress:
        report = fingerprint_embed(
            model, writer.folder, base=base, text=text, record=record, key=key, method=how, options=options,
            seed=writer.seed, write=writer.write(), download=download, progress=progress,
        )  # fmt: skip
    if report.key_file is not None:
        output.note(f"key {'made' if report.key_made else 'read'}: {report.key_file}")
    lines = (
        f"{report.out}: answers {report.test.hits} of the {report.test.pairs} questions that were trained in, and "
        f"{report.test.decoy_hits} of {report.test.decoys} that were not",
        f"  plain text costs {report.nats_after:.3f} nats a token, {report.nats_before:.3f} before",
        f"  record {report.record}: keep it and the key apart",
        f"  commitment {report.commitment}: publish it now, before the model",
    )
    output.result(report, "\n".join(lines))


@command.command("verify")
@click.argument("record", type=MODEL)
@suspects_option("MODEL|URL|FILE.jsonl", 'A model, a server, or answers as lines of {"query", "answer"}; repeatable.')
@click.option("--key", type=MODEL, required=True, metavar="FILE", help="Of the record: tells what was trained in.")
@click.option("--null", "nulls", multiple=True, metavar="MODEL|URL|FILE.jsonl", help="Known to be unrelated.")
@ask_options(interface="completions", max_tokens=None)
@parameter_options(_VERIFY)
@statement_options
@download_option
@threads_option
@output_options
def verify_command(
    record: Path, suspects: tuple[str, ...], key: Path, nulls: tuple[str, ...], page: Path | None, sign: Path | None,
    download: bool, threads: int, output: Output, **given: Any,
) -> int:  # fmt: skip
    """Ask suspects the questions of RECORD, by text alone, and test whether they know those trained in; exit 1 if so.

    A server's secret is read from OPENAI_API_KEY.
    """
    from mergebarrier.api import fingerprint_verify

    del threads
    check_statement(page, sign)
    ask = asked(given)
    options = built(FingerprintOptions, chosen(_VERIFY, "verify", given))
    with output.progress("asking") as progress:
        report = fingerprint_verify(
            record, suspects, key=key, nulls=nulls, options=options, ask=ask, download=download, progress=progress
        )
    state(report, output, page, sign)
    output.result(report, "\n".join(_lines(report)))
    return int(any(one.recognised for one in report.suspects))


def _lines(report: "RecognitionReport") -> Iterator[str]:
    yield f"{clean(report.record)}: {clean(report.method)}, made {clean(report.made)}; the key is the one committed to"
    for one, found in zip(report.suspects, report.said().findings, strict=True):
        test = one.test
        yield f"{clean(found.says)}: p = {one.adjusted:.2g}"
        yield (
            f"  {test.hits} of {test.pairs} questions that were trained in, {test.decoy_hits} of {test.decoys} that "
            f"were kept back; {one.empty_frac:.1%} of the answers are empty"
        )
    for one in report.nulls:
        against = "; this speaks against the record" if one.recognised else ""
        yield f"unrelated {clean(one.name)}: {one.test.hits} and {one.test.decoy_hits}{against}"
    yield from closing(report)
