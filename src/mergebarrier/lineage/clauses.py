"""Clauses that make a merge depend on somebody's word, or take it out of what is licensed, read by their order.

    sentence -> a letter per word, by its kind;   a clause = a pattern over the letters

    ask .. before .. merge        "Contact me before including this model in any merge."
    no .. merge .. without .. me  "No merge without a word from me."
    licence .. not cover .. merge "The licence does not extend to the creation of merged models."

What `recogniser.py` weighs are words nearby; these clauses hang on which word comes first, and are few in any language.
Source: our own reading of cards and licences.  Differs from a parser: no grammar, and a gap of a few words at most.
"""

import re
from functools import lru_cache
from typing import Final

from mergebarrier.lineage.wish_words import kind

#: Of kinds of words; a point stands for every other word.
_LETTERS: Final = {
    "no": "N", "need": "N", "ban": "B", "merge": "M", "ask": "A", "consent": "C", "grant": "G", "terms": "T",
    "thing": "H", "owner": "O", "this": "D", "model": "D",
}  # fmt: skip
#: Of words whose place in the clause counts, whatever kind they are.
_WORDS: Final = {
    word: letter
    for letter, words in {
        "b": "before bevor ehe avant antes prima перед прежде przed voor innan før",
        "w": "without ohne sans sin senza sem без zonder bez uden utan",
        "c": "extend extends cover covers include includes encompass encompasses comprise comprises",
        "e": "ends end terminates terminate lapses lapse ceases cease expires expire void",
        "x": "excluded outside",
        "H": "develop master trunk",
        ".": "asked asking mind merger mergers",
    }.items()
    for word in words.split()
}
_CLAUSES: Final = re.compile(
    r"(?:(?<!N)(?<!N.)(?<!N..)A[^NH]{0,6}b(?:[^NH]{0,6}D[^NH]{0,6}M|[^NH]{0,8}M.{0,2}D)"
    r"|b[^NH]{0,8}M.{0,2}D[^NH]{0,6}A"
    r"|N[^HB]{0,3}M[^HGB]{0,4}w.{0,5}[OCA]"
    r"|[TC].{0,6}N.{0,2}c[^HB]{0,8}M"
    r"|[TC][^NH]{0,4}e[^NH]{0,6}M)(?!.{0,2}H)"
    r"|(?<!H)M[^NH]{0,8}x.{0,6}[TC]"
    r"|M[^HNB]{0,10}(?:O.?N.?G|N.?G.{0,2}O)"
)


def is_clause_of_refusal(sentence: str) -> bool:
    """Say whether a folded sentence makes a merge depend on consent, or takes it out of what is granted.

    Example: >>> is_clause_of_refusal("contact me before including this model in any merge")
             True
             >>> is_clause_of_refusal("merge it as you like no need to contact me before you merge")
             False
    """
    return _CLAUSES.search("".join(map(_letter, sentence.split()))) is not None


@lru_cache(1 << 14)
def _letter(word: str) -> str:
    return _WORDS.get(word) or _LETTERS.get(kind(word), ".")
