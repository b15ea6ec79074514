"""``mergebarrier doctor``: what this installation can do, in one table to paste into a bug report.

It reads versions from package metadata and numbers from the operating system; it opens no model and no network.
"""

import importlib.metadata
import os
import platform
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mergebarrier import __version__
from mergebarrier.cache import cache_folder
from mergebarrier.cli._options import output_options
from mergebarrier.cli._output import Output
from mergebarrier.cli._process import default_threads

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["command"]

_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;.*extra == ['\"](\w+)['\"])?")
_HIDDEN_EXTRAS: Final = ("test", "docs")


@click.command()
@output_options
def command(output: Output) -> int:
    """Show versions, threads, memory and what is installed.

    Exits with 1 when a core dependency is missing, else with 0.
    """
    packages = _packages()
    core_missing = [name for name, version in packages["core"].items() if version is None]
    document = {
        "kind": "doctor",
        "mergebarrier": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": {"default": default_threads(), "cores": os.cpu_count()},
        "memory": _memory(),
        "torch": _torch(),
        "cache": _cache(),
        "compute": _compute(),
        "packages": packages,
        "missing": core_missing,
    }
    output.result(document, _table(document))
    return 1 if core_missing else 0


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
    """Return total_bytes and available_bytes, None where the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return {"total_bytes": None, "available_bytes": None}
    rows = {row.split(":")[0]: int(row.split()[1]) * 1024 for row in text.splitlines() if row.endswith("kB")}
    return {"total_bytes": rows.get("MemTotal"), "available_bytes": rows.get("MemAvailable")}


def _torch() -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        return {"version": None}
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"version": torch.__version__, "cpu_capability": torch.backends.cpu.get_cpu_capability(), "cuda": devices}


def _compute() -> dict[str, Any]:
    """Return the dtype that models run in where none is asked for, and the measurement behind it."""
    try:
        from mergebarrier.evaluate import processor_speed
    except ImportError:
        return {"dtype": None, "bfloat16_over_float32": None}
    found = processor_speed()
    return {"dtype": found.dtype, "bfloat16_over_float32": found.ratio}


def _cache() -> dict[str, Any]:
    """Return the folder of fetched models and what is free on its disk."""
    folder = cache_folder()
    nearest = next((place for place in (folder, *folder.parents) if place.is_dir()), Path("/"))
    return {"folder": folder, "exists": folder.is_dir(), "free_bytes": shutil.disk_usage(nearest).free}


def _table(document: dict[str, Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))

    def row(label: str, text: str) -> None:
        table.add_row(label, Text(text))

    threads, memory, torch, cache, compute = (
        document[key] for key in ("threads", "memory", "torch", "cache", "compute")
    )
    row("mergebarrier", document["mergebarrier"])
    row("python", f"{document['python']} on {document['platform']}")
    row("threads", f"{threads['default']} by default, {threads['cores']} cores")
    row("memory", f"{_gib(memory['available_bytes'])} available of {_gib(memory['total_bytes'])}")
    row("torch", f"{torch['version']}, {torch.get('cpu_capability')}, {len(torch.get('cuda', ()))} GPUs")
    ratio = compute["bfloat16_over_float32"]
    if ratio is not None:
        row("compute", f"{compute['dtype']}; a product in bfloat16 takes {ratio:.2f} times that in float32")
    row("cache", f"{cache['folder']} ({'exists' if cache['exists'] else 'absent'}, {_gib(cache['free_bytes'])} free)")
    for extra, versions in document["packages"].items():
        named = ", ".join(f"{name} {version or 'MISSING'}" for name, version in versions.items())
        row(extra, named or "unknown: mergebarrier runs from a source tree that was not installed")
        if extra != "core" and None in versions.values():
            row("", f"pip install 'mergebarrier[{extra}]'")
    return table


def _gib(n_bytes: int | None) -> str:
    return "unknown" if n_bytes is None else f"{n_bytes / 2**30:.1f} GiB"
