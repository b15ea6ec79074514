"""What ``merge`` is asked beyond the weights, and what it says about its inputs and its result."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._models import MODEL
from mergebarrier.cli._output import Output

if TYPE_CHECKING:
    from mergebarrier.verbs import Checks, MergeJob

__all__ = ["LINEAGE", "acknowledge_option", "checks_from", "exit_code", "lineage_options", "note_findings", "show_plan"]

#: Parts of the manifest that the JSON document of ``merge`` repeats.
LINEAGE = ("inputs", "licence", "checks")


acknowledge_option = click.option(
    "--acknowledge-licence",
    is_flag=True,
    help="Merge although the licence or the owner of an input forbids it; this is recorded.",
)


def lineage_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--acknowledge-licence``, ``--check`` and ``--text``; the verb gets ``checks``, for ``checks_from``."""

    @acknowledge_option
    @click.option(
        "--check",
        type=click.Choice(["weights", "run"]),
        default="weights",
        show_default=True,
        help="run: also compare perplexity with every input; exit 1 when the merge is far worse.",
    )
    @click.option("--text", "text_path", type=MODEL, metavar="FILE", help="Text for --check run, which it implies.")
    @functools.wraps(function)
    def verb(*args: Any, acknowledge_licence: bool, check: str, text_path: Path | None, **kwargs: Any) -> Any:
        return function(*args, checks=(acknowledge_licence, check == "run", text_path), **kwargs)

    return verb


def checks_from(given: tuple[bool, bool, Path | None], dtype: str | None) -> "Checks":
    """Read the text and return what the merge is asked; models are run in ``dtype``, None for the machine's."""
    from mergebarrier.verbs import Checks

    acknowledged, run, text_path = given
    if text_path is None:
        return Checks(acknowledged, run, dtype=dtype or "auto")
    from mergebarrier.evaluate import read_text

    return Checks(acknowledged, True, read_text(text_path), dtype or "auto")


def show_plan(document: Mapping[str, Any], job: "MergeJob", checks: "Checks", output: Output) -> int:
    """Print what a merge would do, with the licence that it would conclude; a forbidden one is refused here too."""
    from mergebarrier import verbs

    found = verbs.judged_inputs(job, checks).conclusion
    document = {**document, "licence": {"verdict": found.verdict, "licence": found.licence, "reason": found.reason}}
    told = {**document, "licence": f"{found.verdict}: {found.reason}"}
    output.result({"kind": "plan", **document}, "\n".join(f"{name}: {value}" for name, value in told.items()))
    return 0


def note_findings(content: Mapping[str, Any], output: Output) -> None:
    """Print the warnings of a merge and the licence that it concludes."""
    from mergebarrier import verbs

    for note in verbs.equal_inputs(content["inputs"]):
        output.note(f"note: {note}")
    for warning in content["checks"]["warnings"]:
        output.note(f"warning: {warning}")


def exit_code(content: Mapping[str, Any]) -> int:
    """Return 1 for a merge that was run and found suspect; it is kept, and marked."""
    return 1 if content["checks"]["suspect"] else 0
