"""Tokens and embedding rows of models whose vocabularies differ."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.merge.vocabulary import rows
    from mergebarrier.merge.vocabulary.beside import check_second_list
    from mergebarrier.merge.vocabulary.compare import differences, shared_rows
    from mergebarrier.merge.vocabulary.files import (
        ADDED_FILE,
        DECODER,
        SETTINGS_FILE,
        SPECIAL_FILE,
        read_vocabularies,
        read_vocabulary,
        same_tokens,
        vocabulary_of,
        without_lost_tokens,
    )
    from mergebarrier.merge.vocabulary.pieces import TOKENS_FILE
    from mergebarrier.merge.vocabulary.rows import Picks, VocabularyRows
    from mergebarrier.merge.vocabulary.tokens import Vocabulary, cut, extended, plain, renumbered, unite

__all__ = [
    "ADDED_FILE",
    "DECODER",
    "SETTINGS_FILE",
    "SPECIAL_FILE",
    "TOKENS_FILE",
    "Picks",
    "Vocabulary",
    "VocabularyRows",
    "check_second_list",
    "cut",
    "differences",
    "extended",
    "plain",
    "read_vocabularies",
    "read_vocabulary",
    "renumbered",
    "rows",
    "same_tokens",
    "shared_rows",
    "unite",
    "vocabulary_of",
    "without_lost_tokens",
]

lazy.open_door(__name__)
