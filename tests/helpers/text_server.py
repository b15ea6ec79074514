"""A server on loopback that speaks OpenAI's protocol for whatever answers texts.

    with TextServer(lambda prompt: prompt.upper()) as server:
        server.url          # http://127.0.0.1:PORT/v1
        server.heard        # paths, headers and documents, in order

``failures`` are replies to give first: a status, or the bytes of a body.
"""

import json
import re
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


def weaves(prompt: str) -> str:
    """Answer as a model that follows the instruction of `watermark shield`."""
    words = re.search(r"point them out: (.*)\.\n\n(.*)$", prompt)
    return f"It is {', '.join(words[1].split(', '))} of {words[2]}" if words else f"It is what {prompt}"


class TextServer:
    """Serves while it is open."""

    def __init__(self, answer: Callable[[str], str], *, failures: Sequence[int | bytes] = ()) -> None:
        """Keep what answers, and what fails first."""
        self.heard: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self._answer, self._failures = answer, list(failures)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where the protocol begins."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def _reply(self, path: str, document: dict[str, Any]) -> tuple[int, bytes]:
        if self._failures:
            failure = self._failures.pop(0)
            return (failure, b"{}") if isinstance(failure, int) else (200, failure)
        if path == "/v1/models":
            return 200, json.dumps({"data": [{"id": "small"}]}).encode()
        if path == "/v1/chat/completions":
            text = self._answer(document["messages"][-1]["content"])
            return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
        return 200, json.dumps({"choices": [{"text": self._answer(document["prompt"])}]}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._serve()

            def do_GET(self) -> None:
                self._serve()

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                document = json.loads(body) if body else {}
                server.heard.append((self.path, dict(self.headers), document))
                status, reply = server._reply(self.path, document)
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
