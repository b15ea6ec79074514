"""The corpus parser on a database of our own making."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mergebarrier.zoo.language import kjv


def database(place: Path) -> Path:
    rows = [
        (1, 1, 1, "1:1 In the beginning.", ""),
        (1, 1, 1, "1:2 And the earth. 1:3 And God said,", "Let there be light."),
        (1, 1, 2, "2:1 Thus the heavens.", ""),
        (1, 8, 1, "1:1 Now it came  to pass.", ""),
        (2, 1, 1, "1:1 The book of 12 tribes at 3 o'clock.", ""),
    ]
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute(
            "CREATE TABLE Bible (TestamentID INT, BookID INT, ChapterID INT, Passage1 TEXT, Passage2 TEXT)"
        )
        connection.executemany("INSERT INTO Bible VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("INSERT INTO Bible (rowid, TestamentID, BookID, ChapterID, Passage1, Passage2) "
                           "VALUES (18095, 1, 1, 1, 'Jonah', '')")  # fmt: skip
    return place


def test_verse_numbers_go_books_stay_whole_and_the_held_out_ones_apart(tmp_path) -> None:
    kjv.build(database(tmp_path / "a b.db"), tmp_path / "out")
    train, test = ((tmp_path / "out" / f"{name}.txt").read_text() for name in ("train", "test"))
    assert train == (
        "In the beginning. And the earth. And God said, Let there be light.\nThus the heavens.\n\n"
        "The book of 12 tribes at 3 o'clock.\n"
    )
    assert test == "Now it came to pass.\n"


def test_the_database_is_opened_read_only(tmp_path) -> None:
    place = database(tmp_path / "kjv.db")
    before = place.read_bytes()
    place.chmod(0o400)
    kjv.read_books(place)
    assert place.read_bytes() == before and not list(tmp_path.glob("kjv.db-*"))
