"""The owner's key: 32 secret bytes, and the streams of bytes that are derived from it."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.keys.keys import KEY_BYTES, Key, KeyStream, Streams

__all__ = [
    "KEY_BYTES",
    "Key",
    "KeyStream",
    "Streams",
]

doors.open_lazily(__name__)
