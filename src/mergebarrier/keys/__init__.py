"""The owner's key: 32 secret bytes, and the streams of bytes that are derived from it."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.keys.keys import (
        KEY_BYTES,
        Key,
        KeyStream,
        Streams,
        check_key_place,
        key_id,
        read_key_file,
        write_key_file,
    )

__all__ = [
    "KEY_BYTES",
    "Key",
    "KeyStream",
    "Streams",
    "check_key_place",
    "key_id",
    "read_key_file",
    "write_key_file",
]

lazy.open_door(__name__)
