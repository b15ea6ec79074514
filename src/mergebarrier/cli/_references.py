"""The folder that a name in a recipe means, as the front door resolves it; what it refuses is a fault of the recipe."""

from pathlib import Path

from mergebarrier.errors import BadRecipe, NotACheckpoint

__all__ = ["folder_of"]


def folder_of(name: str, revision: str | None, where: str, *, download: bool = False) -> Path:
    """Return the folder that a model's name means.

    Args:
      name:     a folder, or a name of the hub.
      revision: of a name of the hub.
      where:    named in errors.
      download: fetch what the cache lacks.
    Raises: BadRecipe that says which folders were tried; FetchFailed, MissingExtra.
    """
    from mergebarrier.api.base import find_folder

    try:
        return find_folder(name, revision, download=download)
    except NotACheckpoint as error:
        raise BadRecipe(error.what, where=where, remedy=error.remedy) from error
