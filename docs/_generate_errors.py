"""Write docs/errors.md from the classes of ``mergebarrier.errors``; a test fails while the two differ."""

import inspect
from pathlib import Path

from mergebarrier import errors

_HEAD = """# Errors

When a command cannot do what you asked, it prints one line on stderr: `error: CODE where: what; what to do`.
With `--json` the same four parts are one document on stdout. A code never changes its meaning and is never reused.
Codes that end in `00` name an area and are not printed, except `MB0000`; in Python, their
classes catch every error of the area. [cli.md](cli.md) explains the exit codes.

This page is generated from `src/mergebarrier/errors` by `python docs/_generate_errors.py`.

| code | name | exit | what happened | what to do |
|---|---|---|---|---|
"""


def classes() -> list[type[errors.MergebarrierError]]:
    """Return every error class, sorted by code."""
    found = [item for item in (getattr(errors, name) for name in errors.__all__) if inspect.isclass(item)]
    ours = [item for item in found if issubclass(item, errors.MergebarrierError)]
    return sorted(ours, key=lambda item: item.code)


def render() -> str:
    """Return the text of docs/errors.md."""
    rows = []
    for item in classes():
        what, remedy = (" ".join(part.split()) for part in (inspect.getdoc(item) or "").split("\n\n")[:2])
        rows.append(f"| `{item.code}` | {item.__name__} | {item.exit_code} | {what} | {remedy} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    Path(__file__).with_name("errors.md").write_text(render(), encoding="utf-8")
