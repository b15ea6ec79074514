"""Evidence as one page: what is claimed, how sure it is and against what, what it does not prove, how to repeat it.

The page holds nothing from outside, admits one style sheet by its hash, and escapes every value; what steers a terminal
is escaped too.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from mergebarrier.errors import OutputExists, plain
from mergebarrier.report.base import replace_file

PAGE: Final = "statement.html"
DOCUMENT: Final = "statement.json"


def render_statement(document: Mapping[str, object]) -> str:
    """Return the page of a statement's document; the same document gives the same bytes."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style = _text("statement.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    template = environment.from_string(_text("statement.html.jinja"))
    return plain(template.render(s=document, policy=policy, style=Markup(style)))


def write_statement_files(folder: Path, page: str, document: Mapping[str, object]) -> None:
    """Write both files; a folder that holds anything else, or is none, is left alone.  Raises: OutputExists."""
    check_statement_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / PAGE, page.encode())
    replace_file(folder / DOCUMENT, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def check_statement_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but a statement, or is none.  Raises: OutputExists."""
    present = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in present if name not in (PAGE, DOCUMENT)]
    if foreign or folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        what = f"it holds {foreign[0]!r}, which is not part of a statement" if foreign else "it is no folder"
        raise OutputExists(what, where=folder, remedy="choose another folder")


def _text(name: str) -> str:
    return files("mergebarrier.report").joinpath(name).read_text(encoding="utf-8")
