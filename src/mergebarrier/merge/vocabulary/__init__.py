"""Tokens and embedding rows of models whose vocabularies differ."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.merge.vocabulary import rows
    from mergebarrier.merge.vocabulary.rows import Picks, VocabularyRows
    from mergebarrier.merge.vocabulary.tokens import (
        TOKENS_FILE,
        Vocabulary,
        cut,
        extended,
        plain,
        read_vocabulary,
        unite,
    )

__all__ = [
    "TOKENS_FILE",
    "Picks",
    "Vocabulary",
    "VocabularyRows",
    "cut",
    "extended",
    "plain",
    "read_vocabulary",
    "rows",
    "unite",
]

doors.open_lazily(__name__)
