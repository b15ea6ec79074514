"""The cache folder for what is made once: MERGEBARRIER_CACHE, else ``.cache/mergebarrier`` in the home folder."""

import os
from pathlib import Path

VARIABLE = "MERGEBARRIER_CACHE"


def cache_folder() -> Path:
    """Return the folder that the user named in MERGEBARRIER_CACHE, else ``~/.cache/mergebarrier``; it may be absent."""
    asked = os.environ.get(VARIABLE)
    return Path(asked) if asked else Path.home() / ".cache" / "mergebarrier"
