"""A language model behind an interface: any server that speaks the completions or chat protocol of OpenAI.

    POST URL/chat/completions   {"model", "messages": [{"role": "user", "content": prompt}], "temperature": 0, ..}
    POST URL/completions        {"model", "prompt", "temperature": 0, ..}

Nothing but text comes back, and at most 1 MiB of it a query, within a time for the whole of it: a server that sends a
byte now and then is left.  A redirection is refused, since it would take the secret elsewhere, and no proxy of the
environment is used; the secret (``OPENAI_API_KEY``) is sent over TLS, or to this machine alone.
"""

import http.client
import ipaddress
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Timer
from typing import Final
from urllib.parse import SplitResult, urlsplit

from mergebarrier.errors import ServiceFailed, UsageError, clean

SECRET_VARIABLE: Final = "OPENAI_API_KEY"
INTERFACES: Final = ("chat", "completions")
_MOST_BYTES: Final = 2**20
_TRIES: Final = 3
_BUSY: Final = (429, 502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class ServedSuspect:
    """A ``Suspect`` that is asked over HTTP, one prompt after the other.

    Attributes:
      url:       without the last part, such as http://127.0.0.1:8000/v1.
      model:     as the server names it; "" for the first that it lists.
      interface: "chat" or "completions".
      timeout_s: for one answer from its first byte to its last; and to be connected.
      pause_s:   before a busy server is asked again, doubled each time.
    """

    url: str
    model: str = ""
    interface: str = "chat"
    timeout_s: float = 120.0
    pause_s: float = 1.0

    def __post_init__(self) -> None:
        """Check what can be checked without asking."""
        if not _is_address(self.url):
            what = f"{clean(self.url.partition('?')[0])!r} is not the address of a server"
            raise UsageError(what, where="URL", remedy="give one such as http://127.0.0.1:8000/v1")
        if self.interface not in INTERFACES:
            raise UsageError(f"{self.interface!r} is unknown", where="--interface", remedy=f"give {INTERFACES}")

    def answers(self, prompts: Sequence[str], *, max_tokens: int) -> list[str]:
        """Return what the server says to each prompt.

        Raises: ServiceFailed for a server that cannot be reached, refuses, or answers in another form.
        """
        model = self.model or self._listed()
        return [self._answer(model, prompt, max_tokens) for prompt in prompts]

    def _answer(self, model: str, prompt: str, max_tokens: int) -> str:
        asked: dict[str, object] = {"model": model, "max_tokens": max_tokens, "temperature": 0}
        if self.interface == "chat":
            asked["messages"] = [{"role": "user", "content": prompt}]
            reply = self._ask("chat/completions", asked)
        else:
            reply = self._ask("completions", asked | {"prompt": prompt})
        choices = reply.get("choices") if isinstance(reply, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        said = choice.get("message") if isinstance(choice, dict) and self.interface == "chat" else choice
        text = said.get("content" if self.interface == "chat" else "text") if isinstance(said, dict) else None
        if not isinstance(text, str):
            raise self._failed("its reply holds no text", "see whether --interface is right")
        return text.encode(errors="replace").decode()  # half a surrogate is no letter, and no file could hold it

    def _listed(self) -> str:
        """Return the first model that the server lists."""
        reply = self._ask("models", None)
        data = reply.get("data") if isinstance(reply, dict) else None
        first = data[0] if isinstance(data, list) and data else None
        name = first.get("id") if isinstance(first, dict) else None
        if not isinstance(name, str):
            raise self._failed("it lists no model", "name one by --served-as")
        return name

    def _ask(self, what: str, body: Mapping[str, object] | None) -> object:
        """Return the JSON of a reply; a busy server is asked again twice."""
        headers = {"Content-Type": "application/json", "Connection": "close", **self._secret()}
        data = None if body is None else json.dumps(body).encode()
        for attempt in range(_TRIES):
            status, reason, text = self._sent("GET" if data is None else "POST", what, data, headers)
            if status not in _BUSY or attempt + 1 == _TRIES:
                break
            time.sleep(self.pause_s * 2**attempt)
        if not 200 <= status < 300:
            raise self._failed(f"it answers {status} {clean(reason)}", "see its log")
        if len(text) > _MOST_BYTES:
            raise self._failed(f"its reply is longer than {_MOST_BYTES} bytes", "ask for shorter answers")
        try:
            document: object = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._failed("its reply is not JSON", "give the address of an API, not of a page") from error
        return document

    def _sent(self, how: str, what: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, str, bytes]:
        """Return status, reason and the first bytes of the reply to one request."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        late = Event()
        try:
            with closing(
                kind(parts.hostname or "", parts.port or kind.default_port, timeout=self.timeout_s)
            ) as connection:
                connection.connect()
                with _cut_after(self.timeout_s, connection.sock, late):
                    connection.request(how, f"{parts.path.rstrip('/')}/{what}", data, dict(headers))
                    reply = connection.getresponse()
                    answer = reply.status, reply.reason, reply.read(_MOST_BYTES + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not late.is_set():
                raise self._failed(f"cannot be asked: {clean(error)}", "see whether it runs") from error
        if late.is_set():
            raise self._failed(f"its reply takes longer than {self.timeout_s:g} s", "ask for shorter answers")
        return answer

    def _secret(self) -> dict[str, str]:
        secret = os.environ.get(SECRET_VARIABLE, "").strip()
        parts = urlsplit(self.url)
        if not (secret.isascii() and secret.isprintable()):  # the library's own complaint would repeat it
            what, remedy = "it holds what no header may", "set it to the secret alone"
            raise UsageError(what, where=SECRET_VARIABLE, remedy=remedy)
        return {"Authorization": f"Bearer {secret}"} if secret and (parts.scheme == "https" or _here(parts)) else {}

    def _failed(self, what: str, remedy: str) -> ServiceFailed:
        return ServiceFailed(what, where=self.url, remedy=remedy)


@contextmanager
def _cut_after(seconds: float, connected: socket.socket, late: Event) -> Iterator[None]:
    """Take a connection down once its time is up: the limit of a socket is that of one read, anew with each byte."""

    def cut() -> None:
        late.set()
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _is_address(url: str) -> bool:
    """Whether an address names a server, and nothing secret beside it."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and not parts.query
        )
    except ValueError:
        return False


def _here(parts: SplitResult) -> bool:
    """Whether an address is of this machine."""
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
