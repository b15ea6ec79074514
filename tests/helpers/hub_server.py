"""A hub on this machine: the few addresses of the Hugging Face Hub that fetching a model asks for, over loopback.

    with HubServer({"org/tiny": Repository({COMMIT: {"config.json": b"{}"}}, {"main": COMMIT})}) as hub:
        run_offline(..., env=hub.environment(cache))
        assert "model.bin" not in hub.fetched

Files are served by commit only, so whoever asks by branch for a file is answered 404.
"""

import hashlib
import json
import os
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

_INFO = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([0-9a-f]{40})")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)")


@dataclass
class Repository:
    """Commit -> files, and branch -> commit."""

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str]


class HubServer:
    """Serves repositories until it is left; ``fetched`` names every file whose bytes were sent."""

    def __init__(self, repositories: dict[str, Repository]) -> None:
        self.repositories = repositories
        self.fetched: list[str] = []
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, cache: Path) -> dict[str, str]:
        """The environment of a process that takes this for the Hub."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        own = {"HF_ENDPOINT": self.address, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0"}
        return {**kept, **own, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "NO_PROXY": "*"}

    def answer(self, path: str) -> tuple[bytes, dict[str, str]] | None:
        """Return body and headers; None for what is not there."""
        if found := _TREE.fullmatch(path):
            files = self.repositories[found[1]].commits.get(found[2])
            return None if files is None else _json([_entry(name, data) for name, data in files.items()])
        if found := _INFO.fullmatch(path):
            repository = self.repositories.get(found[1])
            revision = unquote(found[2] or "main")
            commit = revision if repository and revision in repository.commits else None
            commit = commit or (repository.branches.get(revision) if repository else None)
            if repository is None or commit is None:
                return None
            siblings = [{"rfilename": name} for name in repository.commits[commit]]
            return _json({"id": found[1], "modelId": found[1], "sha": commit, "siblings": siblings})
        if found := _FILE.fullmatch(path):
            repository = self.repositories.get(found[1])
            files = repository.commits.get(found[2], {}) if repository else {}
            if found[3] in files:
                data = files[found[3]]
                return data, {"X-Repo-Commit": found[2], "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._send(body=False)

            def do_GET(self) -> None:
                self._send(body=True)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _send(self, body: bool) -> None:
                path = urlsplit(self.path).path
                hub.asked.append(path)
                found = hub.answer(path)
                data, headers = found or (b"{}", {"X-Error-Code": "RevisionNotFound"})
                start = int((re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range", "")) or (0, "0"))[1])
                self.send_response(404 if found is None else 206 if start else 200)
                for name, value in {**headers, "Content-Length": str(len(data) - start)}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(data[start:])
                    if "/resolve/" in path and found is not None:
                        hub.fetched.append(path.rpartition("/")[2])

        return Handler


def _json(document: object) -> tuple[bytes, dict[str, str]]:
    return json.dumps(document).encode(), {"Content-Type": "application/json"}


def _entry(name: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
