"""A second list of pieces beside the one that a loader reads, and trained rows that only the second has tokens for.

    tokenizer.json of the base, left in the folder; tokenizer.model or vocab.json with the pieces that training added

Which of the two is out of date no file says, so such a folder is refused; rows that neither list names are padding.
Source: ours.  Differs from mergekit, which drops those rows.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge.vocabulary.files import settings_of
from mergebarrier.merge.vocabulary.pieces import TOKENS_FILE, pieces_of
from mergebarrier.merge.vocabulary.tokens import Vocabulary

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint


def check_second_list(model: "Checkpoint", vocabulary: Vocabulary, rows: int) -> None:
    """Refuse a model whose other list of pieces names rows that its tokenizer.json leaves without a token.

    Args:
      model:      whose folder it is.
      vocabulary: its tokens.
      rows:       of its embedding.
    Raises: BadRecipe.
    """
    if vocabulary.document is None or len(vocabulary.ids) >= rows:
        return

    def read(name: str) -> bytes | None:
        return model.read_side_file(name) if name in model.side_files and name != TOKENS_FILE else None

    second = None
    with suppress(BadRecipe):  # a list that cannot be read says nothing
        second = pieces_of(read, model.path, settings_of(read, model.path), model.config)
    taken = set(vocabulary.ids.values())
    more = [
        token
        for token, number in (second.numbers if second is not None else {}).items()
        if number < rows and number not in taken and token not in vocabulary.ids
    ]
    if more:
        what = f"it lacks {len(more)} tokens with a row that another list of this folder has ({clean(repr(more[0]))})"
        remedy = f"remove the file that is out of date: {TOKENS_FILE}, or the other list"
        raise BadRecipe(what, where=model.path / TOKENS_FILE, remedy=remedy)
