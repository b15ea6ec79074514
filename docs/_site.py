"""What `make docs` adds to the pages: links to the sources, and an API reference with one page for each room.

A hook of mkdocs.  A link that leaves docs/ works in a clone and on the forge; on the site it becomes one to the forge,
if the file is there, and a warning (so that the strict build fails) if not.
"""

import ast
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
    """Return the page of a room: what its door says and offers, functions first; mkdocstrings fills it."""
    name = f"mergebarrier.{room}".rstrip(".")
    door = _door(name)
    assert door is not None
    offered = sorted(_imports(door), key=lambda offer: (not offer.islower(), offer.lower()))
    blocks = [f"::: {_defined(name, offer)}" for offer in offered]
    return "\n\n".join([f"# {name}", ast.get_docstring(door) or "", *blocks]) + "\n"


def _door(name: str) -> ast.Module | None:
    """Return the door of a package; None for a file."""
    path = ROOT / "src" / Path(*name.split(".")) / "__init__.py"
    return ast.parse(path.read_text(encoding="utf-8")) if path.exists() else None


def _imports(door: ast.Module) -> dict[str, str]:
    """Return name -> the module that a door takes it from."""
    found = [node for node in ast.walk(door) if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    return {alias.name: str(node.module) for node in found for alias in node.names if alias.name != "lazy"}


def _defined(module: str, name: str) -> str:
    """Return where a name is defined; a door may share its name with a function, a file never does."""
    door = _door(module)
    source = module if door is None else _imports(door).get(name, module)
    return f"{module}.{name}" if source == module else _defined(source, name)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference at the end of the menu."""
    pages = [{f"mergebarrier.{room}".rstrip("."): _path(room)} for room in rooms()]
    assert config.nav is not None
    config.nav.append({"Reference": pages})
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
