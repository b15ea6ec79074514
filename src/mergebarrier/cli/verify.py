"""``mergebarrier verify``: does the protected model still do what the original does?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._models import MODEL
from mergebarrier.cli._options import dtype_option, output_options, threads_option
from mergebarrier.cli._output import Output

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

__all__ = ["command"]


@click.command()
@click.argument("original", type=MODEL)
@click.argument("protected", type=MODEL)
@click.option("--text", "text_path", type=MODEL, help="Plain UTF-8 text to compare on.  [default: a built-in page]")
@dtype_option("float32")
@click.option("--max-tokens", type=click.IntRange(16), default=1024, show_default=True, metavar="N")
@click.option(
    "--max-kl", type=float, default=0.01, show_default=True, help="Nats per token above which the exit code is 1."
)
@threads_option
@output_options
def command(
    original: Path,
    protected: Path,
    text_path: Path | None,
    dtype: str,
    max_tokens: int,
    max_kl: float,
    threads: int,
    output: Output,
) -> int:
    """Compare PROTECTED with ORIGINAL: tensors, logits, KL, top-1 agreement, perplexity.

    In bfloat16 the floor is printed beside the figures: how far the original itself moves between bfloat16 and float32.
    """
    del threads
    from mergebarrier.checkpoint import MANIFEST_NAME, open_reference, verify_manifest
    from mergebarrier.evaluate import CHECK_TEXT, compute_dtype, read_text

    text = CHECK_TEXT if text_path is None else read_text(text_path)
    dtype = compute_dtype(dtype)
    with open_reference(original) as ours, open_reference(protected) as theirs:
        differences = _structure(ours, theirs)
        problems = verify_manifest(protected) if (theirs.root / MANIFEST_NAME).exists() else []
        equality = _function(ours, theirs, text, dtype, max_tokens) if not differences else None
    document = {
        "kind": "verify",
        "dtype": dtype,
        "structure_differences": differences,
        "manifest_problems": problems,
        **(equality or {}),
    }
    passed = not differences and not problems and equality is not None and equality["kl_nats"] <= max_kl
    document["equal"] = passed
    output.result(document, _lines(document))
    return 0 if passed else 1


def _structure(ours: "Checkpoint", theirs: "Checkpoint") -> list[str]:
    """Return every way in which names, shapes, dtypes or config differ."""
    differences = [f"only in the original: {name}" for name in ours.tensors if name not in theirs.tensors]
    differences += [f"only in the protected model: {name}" for name in theirs.tensors if name not in ours.tensors]
    for name, info in ours.tensors.items():
        other = theirs.tensors.get(name)
        if other is not None and (info.dtype, info.shape) != (other.dtype, other.shape):
            differences.append(f"{name}: {info.dtype} {info.shape} became {other.dtype} {other.shape}")
    if ours.config != theirs.config:
        differences.append("config.json differs")
    return differences


def _function(ours: "Checkpoint", theirs: "Checkpoint", text: str, dtype: str, max_tokens: int) -> dict[str, Any]:
    """Run both models on the text."""
    from dataclasses import asdict

    from mergebarrier.evaluate import compare, load_module, load_tokenizer, perplexity, token_ids

    tokenizer = load_tokenizer(ours)
    ids = token_ids(tokenizer, text, max_tokens)
    first, second = load_module(ours, dtype), load_module(theirs, dtype)
    figures: dict[str, Any] = asdict(compare(first, second, ids))
    figures["perplexity_original"] = perplexity(first, tokenizer, text, max_tokens).perplexity
    figures["perplexity_protected"] = perplexity(second, tokenizer, text, max_tokens).perplexity
    if dtype == "bfloat16":
        del second
        figures["floor_kl_nats"] = compare(load_module(ours, "float32"), first, ids).kl_nats
    return figures


def _lines(document: dict[str, Any]) -> str:
    lines = [*document["structure_differences"], *document["manifest_problems"]]
    if "kl_nats" in document:
        before, after = document["perplexity_original"], document["perplexity_protected"]
        lines += [
            f"compute dtype          {document['dtype']}, {document['tokens']} tokens",
            f"relative logit error   {document['max_rel_logit_error']:.2e}",
            f"KL to the original     {document['kl_nats']:.2e} nats per token",
            f"top-1 agreement        {document['top1_agreement']:.4f}",
            f"perplexity             {before:.3f} original, {after:.3f} protected ({after / before - 1:+.2%})",
        ]
        if "floor_kl_nats" in document:
            floor = document["floor_kl_nats"]
            lines.append(f"floor                  {floor:.2e} nats: the original, bfloat16 against float32")
    lines.append("equal" if document["equal"] else "NOT equal")
    return "\n".join(lines)
