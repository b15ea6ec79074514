"""``mergebarrier protect``: write a model of the same function that stock merging breaks on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._models import MODEL, into, key_for_writing
from mergebarrier.cli._options import WriterOptions, output_options, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import chosen, parameter_options
from mergebarrier.errors import UsageError
from mergebarrier.protect import PROTECTIONS

if TYPE_CHECKING:
    from mergebarrier.keys import Key
    from mergebarrier.protect import Protection

__all__ = ["command"]


@click.command()
@click.argument("model", type=MODEL)
@click.option("--base", type=MODEL, help="The public base: shows at once what realigning to it recovers.")
@click.option("--method", type=click.Choice(list(PROTECTIONS)), default="exact", show_default=True, help="Protection.")
@click.option("--key", "key_path", type=MODEL, metavar="FILE", help="The key of a keyed method; made if absent (0600).")
@parameter_options(PROTECTIONS)
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

    protection: Protection = PROTECTIONS[method](**chosen(PROTECTIONS, method, parameters))
    if key_path is not None and not protection.keyed:
        raise UsageError(f"{method} has no key", where="--key", remedy="leave --key out")
    with ExitStack() as stack:
        source = stack.enter_context(open_reference(model))
        anchor = None if base is None else stack.enter_context(open_reference(base))
        if anchor is not None:
            verbs.check_realign(source, anchor)
        if writer.dry_run:
            plan = verbs.dry_run(source, protection, base=anchor)
            output.result({"kind": "plan", **plan}, "\n".join(f"{name}: {value}" for name, value in plan.items()))
            return
        with _key(protection, key_path, writer, output) as (key, ready), output.progress("protecting") as progress:
            content, prepared = verbs.protect(source, protection, key, into(writer, progress), base=anchor, ready=ready)
    document: dict[str, Any] = {
        "kind": "protect",
        "out": writer.folder,
        "method": method,
        "parameters": content["parameters"],
        "key_id": content["key_id"],
        "content_digest": content["output"]["content_digest"],
        "limit": prepared.limit,
    }
    lines = [f"{writer.folder}: protected by {method} ({prepared.variant})", prepared.limit]
    if base is not None:
        document["realigned"] = _realigned(model, writer.folder, base, output)
        lines.insert(1, _sentence(document["realigned"]))
    output.result(document, "\n".join(lines))


@contextmanager
def _key(
    protection: "Protection", path: Path | None, writer: WriterOptions, output: Output
) -> "Iterator[tuple[Key | None, Callable[[], None] | None]]":
    """Give the key, and what writes it once nothing is left to refuse; it goes again if its run leaves nothing."""
    if not protection.keyed:
        yield None, None
        return
    key, place, made = key_for_writing(path, writer.folder)

    written = False

    def write() -> None:
        from mergebarrier.keys import write_key_file

        nonlocal written
        if made:
            write_key_file(place, key.secret)
            written = True

    try:
        yield key, write
    except BaseException:
        unfinished = writer.folder.with_name(writer.folder.name + ".partial")
        if written and not unfinished.exists():
            place.unlink()
        raise
    finally:
        if place.exists():
            output.note(f"key {key.id} {'made' if made else 'read'}: {place}")


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
