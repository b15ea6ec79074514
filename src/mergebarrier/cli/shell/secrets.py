"""Secrets among the arguments reach no screen, no log and no document: what is written is stripped of them first.

A key in hex that is given where the name of its file belongs would come back in the line of a log, in the text of an
error, in a command that goes on, in a traceback.  So it is taken out of the streams that all of these go through.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TextIO, cast

__all__ = ["hidden_in", "stripped"]

_SHOWN: Final = "(hidden)"


def stripped(text: str, secrets: Sequence[str]) -> str:
    """Return a text without some words."""
    for secret in secrets:
        text = text.replace(secret, _SHOWN)
    return text


@contextmanager
def hidden_in(secrets: Sequence[str]) -> Iterator[None]:
    """Strip ``secrets`` from whatever is written to stdout and stderr, a write at a time."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Stripped(stream, secrets)) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


class _Stripped:
    """A text stream without some words; all else is the stream's."""

    def __init__(self, stream: TextIO, secrets: Sequence[str]) -> None:
        self._stream, self._secrets = stream, secrets

    def write(self, text: str) -> int:
        return self._stream.write(stripped(text, self._secrets))

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
