"""What `make docs` adds to the pages: links to the sources, and an API reference with one page for each room.

A hook of mkdocs.  A link that leaves docs/ works in a clone and on the forge; on the site it becomes one to the forge,
if the file is there, and a warning (so that the strict build fails) if not.
"""

import logging
import re
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)(#[^)]*)?\)")
LOG = logging.getLogger("mkdocs.hooks.site")


def rooms() -> list[str]:
    """Return the packages directly below ours, the front door ("") first; the command line has a page of its own."""
    package = ROOT / "src" / "mergebarrier"
    names = sorted(path.parent.name for path in package.glob("*/__init__.py"))
    return ["", *(name for name in names if name != "cli")]


def reference(room: str) -> str:
    """Return the page of a room: mkdocstrings fills it from the door."""
    name = f"mergebarrier.{room}".rstrip(".")
    return f"# {name}\n\n::: {name}\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference at the end of the menu."""
    pages = [{f"mergebarrier.{room}".rstrip("."): _path(room)} for room in rooms()]
    assert config.nav is not None
    config.nav.append({"Python": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference, which stand in no folder."""
    for room in rooms():
        files.append(File.generated(config, _path(room), content=reference(room)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Send links out of docs/ to the forge."""

    def outside(link: re.Match[str]) -> str:
        if not (ROOT / link[1]).exists():
            LOG.warning("%s: there is no %s in the repository", page.file.src_uri, link[1])
        return f"]({SOURCE}/blob/main/{link[1]}{link[2] or ''})"

    return OUTSIDE.sub(outside, markdown)


def _path(room: str) -> str:
    return f"reference/{room or 'index'}.md"
