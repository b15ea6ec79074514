"""The schemas in this folder, one per kind of document; draft 2020-12.

They are made by ``docs/_generate_schemas.py`` from the types of the documents, so that they cannot drift from the code.
"""

from importlib.resources import files
from typing import Final

from mergebarrier.errors import UsageError
from mergebarrier.nearest import did_you_mean

_SUFFIX: Final = ".json"


def names() -> tuple[str, ...]:
    """Return the kinds of documents, sorted; ``manifest``, ``result`` and ``row`` are files."""
    found = (entry.name for entry in files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)))


def text(name: str) -> str:
    """Return one schema as it is shipped.

    Raises: UsageError for a name that is not in ``names()``.
    """
    if name not in names():
        raise UsageError(
            f"there is no schema {name!r}{did_you_mean(name, names())}",
            where="schema",
            remedy="`mergebarrier schema` lists them",
        )
    return files(__package__).joinpath(name + _SUFFIX).read_text(encoding="utf-8")
