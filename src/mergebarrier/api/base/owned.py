"""The key of somebody's evidence: given, read, or made now with mode 0600."""

import os
import secrets
from pathlib import Path

from mergebarrier.keys import KEY_BYTES, Key, check_key_place, read_key_file, write_key_file


def held_key(given: Key | str | os.PathLike[str]) -> Key:
    """Return a key that is given, or that a file holds.  Raises: BadKey."""
    return given if isinstance(given, Key) else Key(read_key_file(given))


def owned_key(given: Key | str | os.PathLike[str]) -> tuple[Key, Path | None, bool]:
    """Return the key, its file, and whether it was made now.

    Raises: BadKey, OutputExists.
    """
    if isinstance(given, Key):
        return given, None, False
    place = Path(given)
    check_key_place(place)
    made = not (place.exists() or place.is_symlink())
    if made:
        write_key_file(place, secrets.token_bytes(KEY_BYTES))
    return held_key(place), place, made
