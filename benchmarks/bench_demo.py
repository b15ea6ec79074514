"""The demonstration of `make demo`, kept as the text that it prints: what the README tells of it comes from here."""

import dataclasses
import io
import sys
import tempfile
from pathlib import Path

from rich.console import Console

import mergebarrier as mb


def main() -> None:
    """Print the verdict, the table of merges, the ladder, the controls and the limits."""
    with tempfile.TemporaryDirectory() as work:
        report = mb.demo(Path(work) / "demo", say=lambda line: print(line, file=sys.stderr))
        page = io.StringIO()
        Console(file=page, width=110, no_color=True).print(dataclasses.replace(report, page=None).terminal())
    print("One key, one seed; skills are shares of held-out rows.\n")
    print("```text\n" + "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n```")


if __name__ == "__main__":
    main()
