"""The error of a tokenizer's file that cannot be read: what every reader of one raises."""

from mergebarrier.errors import BadRecipe


def bad_tokenizer(what: str, where: object) -> BadRecipe:
    """Return the error of a tokenizer's file that cannot be read."""
    return BadRecipe(
        what,
        where=where,
        remedy="repair the file, or leave tokenizer out, which copies those of the base or first model",
    )
