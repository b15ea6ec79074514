"""Scripts of tests, run by themselves."""

import os
from pathlib import Path


def with_helpers() -> dict[str, str]:
    """Return an environment in which a script finds the helpers of the tests, as the tests do."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
