"""docs/architecture.md describes the house that is here: rooms, the files of its walks, its picture, its figures."""

import re
import sys
from pathlib import Path

from test_import_direction import ALLOWED, BASE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FIGURE = r"^\| `(mergebarrier [^`]+)` \| (\d+) \|$"


def test_every_room_is_on_the_page_and_no_other() -> None:
    table = PAGE.partition("## What each room may know")[2].partition("\n## ")[0]
    said = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    small = {*BASE, "", "schemas"}
    assert said == {*ALLOWED, "cli"} - small


def test_every_stop_of_a_walk_is_there_and_the_walks_are_short() -> None:
    for title, most in (("through `protect`", 8), ("through `merge`", 14)):
        walk = PAGE.partition(title)[2].partition("\n## ")[0]
        stops = re.findall(r"^\d+\. `(src/[\w/]+\.py)` \(`(\w+)`\)", walk, re.MULTILINE)
        assert 5 < len(stops) <= most, stops
        for file, name in stops:
            text = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^(?:def|class) {name}\b", text, re.MULTILINE), (file, name)


def test_the_life_of_a_tensor_reads_in_its_order_in_one_function() -> None:
    text = (ROOT / "src" / "mergebarrier" / "run" / "transform.py").read_text(encoding="utf-8")
    function = text.partition("\ndef change_rows(")[2].partition("\ndef ")[0]
    steps = ["# read", "# gather", "# change", "# round", "# scatter", "# write"]
    places = [function.index(step) for step in steps]
    assert places == sorted(places)


def test_the_picture_is_the_plan() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    import _draw_rooms

    assert _draw_rooms.PICTURE.read_text(encoding="utf-8") == _draw_rooms.draw(), "run python docs/_draw_rooms.py"


def test_the_figures_are_those_of_the_committed_run() -> None:
    results = (ROOT / "benchmarks" / "results" / "files.md").read_text(encoding="utf-8")
    figures = re.findall(FIGURE, PAGE, re.MULTILINE)
    assert len(figures) == 2 and figures == re.findall(FIGURE, results, re.MULTILINE)
