"""A package index on this machine that has one wheel, over loopback, and the asset of the zoo that is made of it.

with Index(folder) as index:
    os.environ |= index.environment      # for pip
    asset = index.asset                  # of the builder that makes a text out of a database
"""

import dataclasses
import hashlib
import os
import signal
import sqlite3
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from killing import status_of, victim
from mergebarrier.zoo.base import Asset
from mergebarrier.zoo.catalogue import ASSETS

NAME, VERSION, MEMBER = "made_up_book", "1.0", "made_up_book/Bible.db"
WHEEL = f"{NAME}-{VERSION}-py3-none-any.whl"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Index:
    """Serves until it is left."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / "simple" / NAME.replace("_", "-")
        self._place.mkdir(parents=True)
        book = folder / "Bible.db"
        with sqlite3.connect(book) as database:
            database.execute("CREATE TABLE Bible (TestamentID, BookID, ChapterID, Passage1, Passage2)")
            rows = [(1, n % 20, n, f"1:{n} words of row {n} " * 50, None) for n in range(2000)]
            database.executemany("INSERT INTO Bible VALUES (?, ?, ?, ?, ?)", rows)
        database.close()
        about = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n"
        kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        with zipfile.ZipFile(self._place / WHEEL, "w") as wheel:
            wheel.write(book, MEMBER)
            for name, text in (("METADATA", about), ("WHEEL", kind), ("RECORD", "")):
                wheel.writestr(f"{NAME}-{VERSION}.dist-info/{name}", text)
        (self._place / "index.html").write_text(f'<!DOCTYPE html><a href="{WHEEL}">{WHEEL}</a>')
        self._book = book.read_bytes()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))

    def __enter__(self) -> Self:
        self._process = victim(self._server.serve_forever)  # of its own, since labs fork
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._process, signal.SIGKILL)
        status_of(self._process)
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What makes pip ask here and nowhere else."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}/simple"
        return {"PIP_INDEX_URL": address, "PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": "/dev/null", "NO_PROXY": "*"}

    @property
    def asset(self) -> Asset:
        """The text of the zoo, made of this wheel."""
        package = dataclasses.replace(
            ASSETS["kjv"].packages[0],
            distribution=NAME.replace("_", "-"), version=VERSION, archive=WHEEL, member=MEMBER,
            archive_sha256=hashlib.sha256((self._place / WHEEL).read_bytes()).hexdigest(),
            member_sha256=hashlib.sha256(self._book).hexdigest(), member_bytes=len(self._book),
        )  # fmt: skip
        return dataclasses.replace(ASSETS["kjv"], packages=(package,))
