"""``mergebarrier protect``: write a model of the same function that stock merging breaks on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._models import LIMIT_OF_EXACT, LIMIT_OF_MERGEBARRIER, MODEL, into, key_for_writing
from mergebarrier.cli._options import WriterOptions, output_options, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.keys import Key
    from mergebarrier.protect import Protection

__all__ = ["command"]


@click.command()
@click.argument("model", type=MODEL)
@click.option("--base", type=MODEL, help="The public base: shows at once what realigning to it recovers.")
@click.option("--method", type=click.Choice(["exact", "mergebarrier"]), default="exact", show_default=True)
@click.option(
    "--profile", type=click.Choice(["lossless", "full"]), help="exact: what to draw from.  [default: lossless]"
)
@click.option("--key", "key_path", type=MODEL, metavar="FILE", help="exact: the key; made if absent (mode 0600).")
@click.option("--only", metavar="PARTS", help="exact: a subset of attention,heads,mlp,residual.  [default: all]")
@click.option("--condition", type=float, help="exact full: bound on condition numbers, 1 to 4.  [default: 3]")
@click.option("--flip-fraction", type=float, help="mergebarrier: share of planes flipped.  [default: 0.5]")
@click.option("--form", type=click.Choice(["auto", "planes", "literal"]), help="mergebarrier: form of the projection.")
@writer_options
@output_options
def command(
    model: Path,
    base: Path | None,
    method: str,
    key_path: Path | None,
    writer: WriterOptions,
    output: Output,
    **parameters: Any,
) -> None:
    """Write MODEL in other coordinates: same function, same names and shapes, merges badly with its relatives.

    The key undoes it (`unprotect`).  The result names what the protection does not do as plainly as what it does.
    """
    from mergebarrier import verbs
    from mergebarrier.checkpoint import open_reference

    protection = _protection(method, parameters)
    if key_path is not None and not protection.keyed:
        raise UsageError(f"{method} has no key", where="--key", remedy="leave --key out")
    with open_reference(model) as source:
        if base is not None:
            with open_reference(base) as anchor:
                verbs.check_realign(source, anchor)
        if writer.dry_run:
            plan = verbs.dry_run(source, protection)
            output.result({"kind": "plan", **plan}, "\n".join(f"{name}: {value}" for name, value in plan.items()))
            return
        verbs.check_protect(source, protection, workers=writer.workers)
        with _key(protection, key_path, writer, output) as key, output.progress("protecting") as progress:
            content = verbs.protect(source, protection, key, into(writer, progress))
    limit = LIMIT_OF_EXACT if protection.keyed else LIMIT_OF_MERGEBARRIER
    document: dict[str, Any] = {
        "kind": "protect",
        "out": writer.folder,
        "method": method,
        "parameters": content["parameters"],
        "key_id": content["key_id"],
        "content_digest": content["output"]["content_digest"],
        "limit": limit,
    }
    lines = [
        f"{writer.folder}: protected by {method} ({content['parameters'].get('profile', 'attention only')})",
        limit,
    ]
    if base is not None:
        document["realigned"] = _realigned(model, writer.folder, base, output)
        lines.insert(1, _sentence(document["realigned"]))
    output.result(document, "\n".join(lines))


@contextmanager
def _key(protection: "Protection", path: Path | None, writer: WriterOptions, output: Output) -> "Iterator[Key | None]":
    """Give the key; one that was made for a run that then left nothing behind goes with it."""
    if not protection.keyed:
        yield None
        return
    key, place, made = key_for_writing(path, writer.folder)
    try:
        yield key
    except BaseException:
        unfinished = writer.folder.with_name(writer.folder.name + ".partial")
        if made and not unfinished.exists():
            place.unlink()
        raise
    finally:
        if place.exists():
            output.note(f"key {key.id} {'made' if made else 'read'}: {place}")


def _protection(method: str, parameters: dict[str, Any]) -> "Protection":
    """Build the protection; an option of another method is an error, not a silence."""
    from dataclasses import fields

    from mergebarrier.protect import PROTECTIONS

    kind = PROTECTIONS[method]
    known = {field.name for field in fields(kind)}
    given = {name: value for name, value in parameters.items() if value is not None}
    foreign = sorted(given.keys() - known)
    if foreign:
        raise UsageError(f"not an option of {method}", where="--" + foreign[0].replace("_", "-"), remedy="leave it out")
    if "only" in given:
        given["only"] = tuple(part.strip() for part in given["only"].split(","))
    return kind(**given)


def _realigned(original: Path, protected: Path, base: Path, output: Output) -> dict[str, Any]:
    """Run the cheap attack on what was just written and say how much of the change it takes back."""
    from mergebarrier import verbs
    from mergebarrier.checkpoint import open_reference

    with (
        open_reference(original) as ours,
        open_reference(protected) as published,
        open_reference(base) as anchor,
        output.progress("realigning it, as an attacker would") as progress,
    ):
        return verbs.undone_by_realignment(ours, published, anchor, progress=progress)


def _sentence(realigned: dict[str, Any]) -> str:
    return (
        f"Realigned to the base without the key: {realigned['undone_pct']:.1f} % of the change is undone "
        f"({realigned['seconds']:.0f} s)."
    )
