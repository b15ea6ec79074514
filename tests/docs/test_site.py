"""The site: every page is reached from its menu and its first page, it builds, and it asks nobody for anything."""

import os
import re
import subprocess
import sys

import pytest


def _pages(root) -> set[str]:
    return {path.name for path in (root / "docs").glob("*.md")}


def test_every_page_is_in_the_menu(root) -> None:
    text = (root / "mkdocs.yml").read_text(encoding="utf-8")
    menu = re.findall(r"[\w/-]+\.md", text[text.index("\nnav:") :])
    assert sorted(menu) == sorted(_pages(root))


def test_every_page_is_reached_from_the_first(root) -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (root / "docs" / "index.md").read_text(encoding="utf-8"))
    assert set(linked) == _pages(root) - {"index.md"}


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """The site, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    program = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    ran = subprocess.run(
        program, cwd=root, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


@pytest.mark.slow
def test_the_site_needs_nothing_from_elsewhere(site, root) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=\"?(https?:[^\" >]+)", text)
        assert not fetched, (page.name, fetched)


@pytest.mark.slow
def test_the_reference_shows_what_every_door_offers(site, root) -> None:
    doors = {path.parent.name: path for path in (root / "src" / "mergebarrier").glob("*/__init__.py")}
    doors = {"index": root / "src" / "mergebarrier" / "__init__.py", **doors}
    del doors["cli"]
    assert {page.stem for page in (site / "reference").glob("*.html")} == set(doors)
    lacking = {}
    for name, door in doors.items():
        page = (site / "reference" / f"{name}.html").read_text(encoding="utf-8")
        offered = re.findall(r'^    "([a-zA-Z]\w*)",', door.read_text(encoding="utf-8"), re.MULTILINE)
        shown = {path.rpartition(".")[2] for path in re.findall(r'<h2 id="(mergebarrier[\w.]*)"', page)}
        lacking[name] = sorted(set(offered) - shown)
    assert sum(map(len, lacking.values())) == 0, {name: names for name, names in lacking.items() if names}
