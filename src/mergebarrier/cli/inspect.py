"""``mergebarrier inspect``: what a folder holds, which symmetries it has, and what can be done with it next."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mergebarrier.cli._options import MODEL, download_option, output_options
from mergebarrier.cli._output import Output
from mergebarrier.errors import clean

if TYPE_CHECKING:
    from mergebarrier.api import InspectReport
    from mergebarrier.symmetry import Freedom

__all__ = ["command"]

_DTYPES: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
_SIZES: Final = (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3))


@click.command()
@click.argument("model", type=MODEL)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "cyclonedx"]),
    default="text",
    show_default=True,
    help="cyclonedx: its ancestors as a bill of materials.",
)
@click.option(
    "--verify-signature", "public", type=MODEL, metavar="KEY.pem", help="First check every file against MODEL.sig."
)
@download_option
@output_options
def command(model: Path, form: str, public: Path | None, download: bool, output: Output) -> None:
    """Show what MODEL is: family, sizes, dtypes, symmetries, signs of protection, licence, lineage.

    Reads no weights.
    """
    from mergebarrier.api import bill_of_materials, inspect, not_covered, verify_signature

    if public is not None:
        output.note(f"signature holds: {verify_signature(model, public)}")
        for name in not_covered(model):
            output.note(f"note: {name} is not covered by the signature: anybody may have changed it")
    output = output.printing(form)
    if form == "cyclonedx":
        click.echo(bill_of_materials(model, download=download))
        return
    report = inspect(model, download=download)
    output.result(report, "\n".join(_lines(report)))


def _lines(report: "InspectReport") -> Iterator[str]:
    """Say in words what the report holds; untrusted text is cleaned."""
    yield clean(report.path)
    yield f"  {_family(report)}"
    yield f"  {_weights(report)}"
    yield from (f"  {line}" for line in _sizes(report))
    yield f"  {_licence(report)}"
    if report.code:
        yield f"  names code, which is never run here and no output gets: {clean(', '.join(report.code))}"
    yield from (f"  {line}" for line in _history(report))
    if report.freedoms:
        yield "Freedoms that a protection may use, and anyone who undoes it:"
        yield from _freedoms(report.freedoms)
    if report.next_steps:
        yield "What can be done next:"
    yield from (f"  {step}" for step in report.next_steps)


def _family(report: "InspectReport") -> str:
    if not report.next_steps:
        return f"a model that this tool only shows: {clean(report.not_protectable)}"
    if report.family is None:
        return f"a model that can be merged but not protected: {clean(report.not_protectable)}"
    return f"a model of the {report.family} family, which can be protected"


def _weights(report: "InspectReport") -> str:
    dtypes = ", ".join(_DTYPES.get(name, name) for name in report.dtypes)
    files = f"{len(report.files)} files" if len(report.files) > 1 else report.files[0]
    parameters, size = _short(report.parameters), _short(report.bytes)
    return f"{parameters} parameters in {report.tensors} tensors of {dtypes}, {size}B in {files}"


def _short(number: int) -> str:
    unit, size = next(((unit, size) for unit, size in _SIZES if number >= size), ("", 1))
    return f"{number / size:.3g} {unit}"


def _sizes(report: "InspectReport") -> list[str]:
    if report.dims is None:
        return []
    dims = report.dims
    heads = ""
    if "n_heads" in dims:
        shared = "" if dims["n_kv_heads"] == dims["n_heads"] else f" sharing {dims['n_kv_heads']} key/value heads"
        heads = f"{dims['n_heads']} heads of {dims['head_dim']}{shared}, "
    words = f"vocabulary of {dims['vocab']}, " if dims.get("vocab") else ""
    tied = "the head is the embedding" if report.tied else "the head has weights of its own"
    return [
        f"{dims['n_layers']} layers of width {dims['hidden']}: {heads}MLP of {dims['mlp_width']}",
        f"{words}{tied}; {report.circuits} circuits are protected one by one",
    ]


def _freedoms(freedoms: "Sequence[Freedom]") -> Iterator[str]:
    """Yield a line per axis: what may happen there, how often, and in how many ways."""
    for one in freedoms:
        ways = [f"2^{one.bits:.1f} ways"] if one.bits else []
        ways += [f"{one.reals:,} real numbers"] if one.reals else []
        elements = "one element of" if one.elements == 1 else f"{one.elements:,} elements, each of"
        yield f"  {one.space:<14}{one.what}; {elements} {' and '.join(ways)}"
    bits, reals = (sum(one.elements * one.bits for one in freedoms), sum(one.elements * one.reals for one in freedoms))
    yield f"  together 2^{bits:,.0f} ways that round nothing, and {reals:,} real numbers; the base undoes all of them"


def _licence(report: "InspectReport") -> str:
    wish = f"; the owner asks not to merge it ({clean(report.do_not_merge)})" if report.do_not_merge else ""
    reason = f" ({clean(report.licence_reason)})" if report.licence_reason else ""
    return f"licence: {clean(report.licence)}{reason}{wish}"


def _history(report: "InspectReport") -> Iterator[str]:
    """Yield where the folder comes from, as far as it says."""
    if report.manifest is not None:
        method, key = report.manifest["method"], report.manifest["key_id"]
        by = f", method {clean(method)}" if method else ""
        by += f", with key {clean(key)}" if key else ""
        yield f"written by {clean(report.manifest['verb'])} of mergebarrier{by}"
    if report.merge_protected:
        yield "marked by its owner as protected against merging"
    if report.attack_artifact:
        yield "marked as made by an attack: for experiments only"
    if report.lineage is not None:
        for item in report.lineage["inputs"]:
            yield clean(f"made from {item['role']} {item['name']} ({item['licence']})")
        for warning in report.lineage["warnings"]:
            yield clean(f"warning: {warning}")
