"""``mergebarrier doctor``: what this installation can do, in one table to paste into a bug report.

It reads versions from package metadata and numbers from the operating system; it opens no model and no network.  It is
what people run when something is missing, so it needs nothing but click, and a package that fails to import is a row.
With ``--family`` it is about a table of a family of models instead.
"""

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mergebarrier import __version__
from mergebarrier.cache import cache_folder
from mergebarrier.cli._options import default_threads, output_options
from mergebarrier.cli._output import Output

if TYPE_CHECKING:
    from mergebarrier.verbs import ClassCheck

__all__ = ["command"]

_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;.*extra == ['\"](\w+)['\"])?")
_HIDDEN_EXTRAS: Final = ("test", "docs")


@click.command()
@click.option(
    "--family",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Check the tables of families in FILE against the classes that they name; nothing in FILE is run.",
)
@output_options
def command(family: Path | None, output: Output) -> int:
    """Show versions, threads, memory and what is installed; or check a table of a family.

    Exits with 1 when a core dependency is missing or torch does not import, or when a table is wrong; else with 0.
    """
    if family is not None:
        return _family(family, output)
    packages = _packages()
    core_missing = [name for name, version in packages["core"].items() if version is None]
    torch = _torch()
    document = {
        "kind": "doctor",
        "mergebarrier": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": {"default": default_threads(), "cores": os.cpu_count()},
        "memory": _memory(),
        "torch": torch,
        "cache": _cache(),
        "compute": _compute(torch),
        "packages": packages,
        "missing": core_missing,
    }
    output.result(document, _table(document))
    return 1 if core_missing or torch["version"] is None else 0


def _family(path: Path, output: Output) -> int:
    from mergebarrier.api import check_family

    report = check_family(path)
    output.result(report, "\n".join(line for one in report.classes for line in _class_lines(one)))
    return 0 if report.passed else 1


def _class_lines(found: "ClassCheck") -> Iterator[str]:
    yield f"{found.family}: {found.architecture} {'passes' if found.passed else 'FAILS'}"
    yield f"  {'axis':<6}{'kind':<9}{'error':>9}   {'wrong on purpose':>17}"
    for one in found.axes:
        if one.error is None:
            yield f"  {one.axis:<6}{one.kind:<9}{'':>9}   nothing acts"
            continue
        wrong = "nothing moves" if one.control_error is None else f"{one.control_error:.1e}"
        verdict = "" if one.passed else "  FAILS"
        yield f"  {one.axis:<6}{one.kind:<9}{one.error:>9.1e}   {wrong:>17}  {one.control}{verdict}"
    yield f"  {'all':<15}{found.together:>9.1e}"


def _packages() -> dict[str, dict[str, str | None]]:
    """Return {"core" or extra: {package: version or None}} from our own metadata; nothing for a source tree."""
    found: dict[str, dict[str, str | None]] = {"core": {}}
    try:
        needed = importlib.metadata.requires("mergebarrier")
    except importlib.metadata.PackageNotFoundError:
        return found
    for line in needed or ():
        parsed = _REQUIREMENT.match(line)
        extra = (parsed[2] if parsed else None) or "core"
        if parsed and extra not in _HIDDEN_EXTRAS:
            found.setdefault(extra, {})[parsed[1]] = _version(parsed[1])
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory() -> dict[str, int | None]:
    """Return total_bytes and available_bytes, None where the system does not report them."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return {"total_bytes": None, "available_bytes": None}
    rows = {row.split(":")[0]: int(row.split()[1]) * 1024 for row in text.splitlines() if row.endswith("kB")}
    return {"total_bytes": rows.get("MemTotal"), "available_bytes": rows.get("MemAvailable")}


def _torch() -> dict[str, Any]:
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything, and is what the user wants to know
        return {"version": None, "error": f"{type(error).__name__}: {error}".splitlines()[0]}
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"version": torch.__version__, "cpu_capability": torch.backends.cpu.get_cpu_capability(), "cuda": devices}


def _compute(torch: dict[str, Any]) -> dict[str, Any]:
    """Return the dtype that models run in by default, and the measurement behind it; None where torch does not work."""
    if torch["version"] is None:
        return {"dtype": None, "bfloat16_over_float32": None}
    from mergebarrier.evaluate import processor_speed

    found = processor_speed()
    return {"dtype": found.dtype, "bfloat16_over_float32": found.ratio}


def _cache() -> dict[str, Any]:
    """Return the folder of fetched models and what is free on its disk."""
    folder = cache_folder()
    nearest = next((place for place in (folder, *folder.parents) if place.is_dir()), Path("/"))
    return {"folder": folder, "exists": folder.is_dir(), "free_bytes": shutil.disk_usage(nearest).free}


def _table(document: dict[str, Any]) -> str:
    threads, memory, torch, cache, compute = (
        document[key] for key in ("threads", "memory", "torch", "cache", "compute")
    )
    about = f"does not import: {torch.get('error')}"
    if torch["version"] is not None:
        about = f"{torch['version']}, {torch['cpu_capability']}, {len(torch['cuda'])} GPUs"
    ratio = compute["bfloat16_over_float32"]
    speed = (
        "torch is needed to measure it"
        if ratio is None
        else f"a product in bfloat16 takes {ratio:.2f} times that in float32"
    )
    state = "exists" if cache["exists"] else "not made yet"
    rows = [
        ("mergebarrier", document["mergebarrier"]),
        ("python", f"{document['python']} on {document['platform']}"),
        ("threads", f"{threads['default']} by default, {threads['cores']} cores"),
        ("memory", f"{_gib(memory['available_bytes'])} available of {_gib(memory['total_bytes'])}"),
        ("torch", about),
        ("compute", f"{compute['dtype'] or 'unknown'}; {speed}"),
        ("cache", f"{cache['folder']} ({state}, {_gib(cache['free_bytes'])} free)"),
    ]
    for extra, versions in document["packages"].items():
        listed = ", ".join(f"{name} {version or 'MISSING'}" for name, version in versions.items())
        rows.append((extra, listed or "unknown: mergebarrier runs from a source tree that was not installed"))
        if extra != "core" and None in versions.values():
            rows.append(("", f"pip install 'mergebarrier[{extra}]'"))
    return "\n".join(f"{label:<14}{text}" for label, text in rows)


def _gib(n_bytes: int | None) -> str:
    return "unknown" if n_bytes is None else f"{n_bytes / 2**30:.1f} GiB"
