"""Draw docs/rooms.svg: which room may import which, from the plan that tests/house/test_import_direction.py holds.

A room stands one row above the highest one that it may import; a line goes down to a room that is not reached through
another.  The small files that every room may use are left out.
"""

import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = Path(__file__).with_name("rooms.svg")
_BOX, _HIGH, _WIDE, _GAP = (104, 34), 84, 128, 24


def plan() -> dict[str, set[str]]:
    """Return room -> rooms that it may import, the command line on top, without the small files of all."""
    sys.path[:0] = [str(ROOT / "tests" / "house"), str(ROOT / "src")]
    from test_import_direction import ALLOWED, BASE

    shown = {room: below for room, below in ALLOWED.items() if room and room not in BASE and room != "schemas"}
    shown["cli"] = {*shown}
    return {room: {one for one in below if one in shown and one != room} for room, below in shown.items()}


def rows(rooms: dict[str, set[str]]) -> list[list[str]]:
    """Return the rooms by height, the lowest first, each row in alphabetical order."""
    height: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in height:
            height[room] = 1 + max((of(below) for below in rooms[room]), default=-1)
        return height[room]

    top = max(map(of, rooms))
    return [sorted(room for room in rooms if height[room] == row) for row in range(top + 1)]


def lines(rooms: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return (room, room below it) for those that no third room connects."""
    reached = {room: {far for near in below for far in rooms[near]} for room, below in rooms.items()}
    return [(room, one) for room in sorted(rooms) for one in sorted(rooms[room] - reached[room])]


def draw() -> str:
    """Return the picture."""
    rooms = plan()
    by_row = rows(rooms)
    width = max(map(len, by_row)) * _WIDE + _GAP
    place = {
        room: ((width - len(row) * _WIDE) // 2 + n * _WIDE + _WIDE // 2, (len(by_row) - 1 - height) * _HIGH + 40)
        for height, row in enumerate(by_row)
        for n, room in enumerate(row)
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {len(by_row) * _HIGH}" font-family="sans-serif" '
        'font-size="13" role="img">',
        "<title>Rooms of mergebarrier; a line leads down to what a room may import</title>",
        f'<rect width="{width}" height="{len(by_row) * _HIGH}" fill="#ffffff"/>',
    ]
    for upper, lower in lines(rooms):
        (x1, y1), (x2, y2) = place[upper], place[lower]
        y1, y2 = y1 + _BOX[1] // 2, y2 - _BOX[1] // 2
        parts.append(f'<path d="M{x1} {y1} C{x1} {y1 + 24} {x2} {y2 - 24} {x2} {y2}" fill="none" stroke="#8a94a6"/>')
    for room, (x, y) in place.items():
        parts.append(
            f'<rect x="{x - _BOX[0] // 2}" y="{y - _BOX[1] // 2}" width="{_BOX[0]}" height="{_BOX[1]}" rx="5" '
            'fill="#eef2f8" stroke="#3b4a63"/>'
        )
        parts.append(f'<text x="{x}" y="{y + 5}" text-anchor="middle" fill="#16202f">{escape(room)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
