"""``mergebarrier verify``: does the protected model still do what the original does?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._compute import compute_options
from mergebarrier.cli._options import MODEL, download_option, output_options, threads_option
from mergebarrier.cli._output import Output

if TYPE_CHECKING:
    from mergebarrier.api import VerifyReport

__all__ = ["command"]


@click.command()
@click.argument("original", type=MODEL)
@click.argument("protected", type=MODEL)
@click.option("--text", type=MODEL, help="Plain UTF-8 text to compare on.  [default: a built-in page]")
@compute_options("float32", batches=False)
@click.option(
    "--max-tokens", type=click.IntRange(16), default=1024, show_default=True, metavar="N",
    help="Tokens of the text to use.",
)  # fmt: skip
@click.option(
    "--max-kl",
    type=float,
    metavar="X",
    default=0.01,
    show_default=True,
    help="Largest KL, in nats per token; above it the exit code is 1.",
)
@click.option(
    "--stress",
    is_flag=True,
    help="Also run both in float16, bfloat16, int8, int4, Q8_0 and Q4_0, with a short cache, and after a fine-tune.",
)
@download_option
@threads_option
@output_options
def command(original: Path, protected: Path, threads: int, output: Output, **options: Any) -> int:
    """Compare PROTECTED with ORIGINAL: tensors, logits or other outputs, KL, top-1 agreement, perplexity.

    In bfloat16 the floor is printed too: how far the original itself moves between bfloat16 and float32.
    """
    del threads
    from mergebarrier.api import verify

    with output.progress("verifying") as progress:
        report = verify(original, protected, **options, progress=progress)
    output.result(report, _lines(report))
    return 0 if report.equal else 1


def _lines(report: "VerifyReport") -> str:
    lines = [*report.structure_differences, *report.manifest_problems]
    read = f", {report.tokens} tokens" if report.tokens else ""
    figures = [
        ("compute dtype", report.dtype if report.outputs or report.kl_nats is not None else None, f"{{}}{read}"),
        ("relative logit error", report.max_rel_logit_error, "{:.2e}"),
        ("outputs compared", ", ".join(report.outputs or ()) or None, "{}"),
        ("relative error", report.max_rel_output_error, "{:.2e}"),
        ("KL to the original", report.kl_nats, "{:.2e} nats per token"),
        ("top-1 agreement", report.top1_agreement, "{:.4f}"),
    ]
    lines += [f"{name:<22} {shown.format(value)}" for name, value, shown in figures if value is not None]
    before, after = report.perplexity_original, report.perplexity_protected
    if before is not None and after is not None:
        lines.append(f"{'perplexity':<22} {before:.3f} original, {after:.3f} protected ({after / before - 1:+z.2%})")
    floors = ((report.floor_kl_nats, " nats"), (report.floor_output_error, " relative error"))
    lines += [
        f"{'floor':<22} {value:.2e}{unit}: the original, bfloat16 against float32"
        for value, unit in floors
        if value is not None
    ]
    lines += _stress(report)
    lines.append("equal" if report.equal else "NOT equal")
    return "\n".join(lines)


def _stress(report: "VerifyReport") -> list[str]:
    """Return a table: what each stress does to the original, and how much more it does to the protected model."""
    if report.stress is None:
        return []
    rows = [
        f"{row['stress']:<22} {row['kl_nats_original']:>10.2e} {row['kl_nats_more']:>+10.1e} "
        f"{row['top1_original']:>8.4f} {-row['top1_less']:>+z8.4f} {row['perplexity_original']:>10.3f} "
        f"{row['perplexity_more']:>+z9.3f}"
        for row in report.stress
    ]
    head = f"{'under stress':<22} {'KL':>10} {'more':>10} {'top-1':>8} {'more':>8} {'perplexity':>10} {'more':>9}"
    return [head, *rows]
