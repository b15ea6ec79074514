"""Whether the words around a licence take back what it grants: a rider below its text, or a card that says less.

    a licence that allows all use, and a rider in its file, another name there, or a card that bars some  ->  unknown

Two signs that disagree are no licence.  Which of them holds is for people to judge, so that the merge is not stopped,
and nothing is concluded for it.  Sentences about data are passed over: a set of data has terms of its own.
Source: licences and cards on the Hub (modified MIT, Apache with additional terms, gates).  Differs: ``stated`` reads
the fields for licences, and not the words.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mergebarrier.checkpoint import LICENCE_FILES
from mergebarrier.errors import clean
from mergebarrier.lineage.licence import KIND_OF, UNKNOWN
from mergebarrier.lineage.licence_texts import identify
from mergebarrier.lineage.signs import folded, sentences_of
from mergebarrier.lineage.stated import Stated
from mergebarrier.lineage.wordings import BARRED, OF_THE_MODEL

#: Kinds that allow commercial use and ask for nothing more than notices or the same licence.
_FREE: Final = ("permissive", "attribution", "share-alike", "weak-copyleft", "copyleft")
#: What no text of a permissive licence holds.
_RIDER: Final = re.compile(
    r"(?<!commercial or )\bnon ?commercial\b|\bcommercial (?:use|usage|purposes?|exploitation|products?)\b"
    r"|\bresearch (?:use |purposes? )?only\b|\bonly for (?:\w+ ){0,3}research\b|\bmonthly active users\b"
    r"|(?<!without any )\badditional (?:terms|restrictions?|conditions|clauses?)\b(?! for use)|\bmodification part\b"
    r"|\bin addition to the (?:above|foregoing)\b|\b(?:modified|amended) (?:mit|apache|bsd)\b|\bcommons clause\b"
    r"|\b(?:not|only|solely) (?:\w+ ){0,6}(?:the )?(?:model|weights)\b|\bseparate agreement\b|\bmilitary\b"
)
_BARS: Final = re.compile(
    r"\b(?<!not )(?:only|solely|strictly|exclusively|restricted|limited|agree\w*) (?:\w+ ){0,10}(?<!commercial or )"
    r"non ?commercial\b"
    r"|\bnon ?commercial (?:\w+ ){0,4}only\b|\b(?:licen[sc]ed?|under) (?:\w+ ){0,6}?(?:cc )?by nc\b|\bnicht kommerziell"
    r"|\b(?:not|no|never) (?!only|restricted|limited)(?:\w+ ){0,5}"
    r"commercial(?:ly| use| usage| purposes?| applications?)\b"
    rf"|\bcommercial(?:ly| use| usage| purposes?| applications?) (?:\w+ ){{0,3}}{BARRED}"
    r"|\bresearch (?:use |purposes? )?only\b|\bonly for (?:\w+ ){0,3}research\b|\buso no comercial\b"
    r"|\b(?:academic|educational|personal) (?:\w+ ){0,2}only\b|\bfor commercial licen[sc]\w+ (?:\w+ ){0,3}contact\b"
    r"|\bpas dutilisation commerciale\b|\b(?:pas|non) (?:\w+ ){0,5}fins commerciales\b"
    r"|禁止(?:\w{0,4})商[业業用]|不得(?:\w{0,6})商[业業用]|非商[业業用]"
    r"|仅[供限](?:\w{0,4})研究"
    r"|商用利用?(?:は|を)?(?:不可|禁止)|상업적 ?(?:이용|사용)\w? ?(?:금지|불가)|비상업"
)
_STEMS: Final = (
    "by-nc",
    "by nc",
    "academic",
    "educational",
    "personal",
    "commerc",
    "kommerz",
    "comercial",
    "research",
    "商",
    "研究",
    "상업",
)
_OF_DATA: Final = re.compile(r"\b(?:data|data ?sets?|corpus|corpora|benchmarks?)\b")
#: Words for data that stand for other things too: in a sentence about the model they take nothing away.
_SHOWN: Final = re.compile(
    r"\b(?:images?|pictures?|photos?|photographs?|faces?|videos?|recordings?|clips?|samples?|annotations?|labels?|scans?"
    r"|books?|articles?|trained (?:on|with|from)|imagenet|laion|coco)\b"
)
#: By what a text calls a licence, where the first word of its identifier does not say so.
_CALLED: Final[Mapping[str, str]] = {
    "cc": "commons", "cc0": "cc0", "gpl": "general public", "lgpl": "lesser general public", "mpl": "mozilla",
    "agpl": "affero", "unlicense": "public domain",
}  # fmt: skip
_FEWEST_LETTERS: Final = 300
_MOST_SHOWN: Final = 120


def narrowed(said: Stated, cards: Mapping[str, str], files: Mapping[str, bytes]) -> Stated:
    """Return what a model states, or that it is unknown where other words of its own take it back.

    Args:
      said:  what the fields for licences say.
      cards: name -> text of its cards.
      files: name -> bytes, of cards and licence files.
    """
    if KIND_OF.get(said.licence) not in _FREE:
        return said
    for name in (name for name in LICENCE_FILES if name in files):
        words = folded(files[name].decode("utf-8", "replace"))
        rider = _RIDER.search(words) if KIND_OF[said.licence] == "permissive" else None
        if rider is not None:
            return _lost(said, f"its {name} says {rider[0]!r}, which is no part of {said.licence}")
        first = re.split(r"[-.\d]", said.licence)[0] or said.licence
        called = _CALLED.get(said.licence.partition("-")[0], first)
        if identify(files[name]) == UNKNOWN and len(words) > _FEWEST_LETTERS and called not in words:
            return _lost(said, f"its {name} does not name {said.licence}, which its card says")
    for name, text in cards.items():
        low = text.casefold()
        for sentence in sentences_of(text) if any(stem in low for stem in _STEMS) else ():
            of_data = _OF_DATA.search(sentence) or (_SHOWN.search(sentence) and not OF_THE_MODEL.search(sentence))
            if _BARS.search(sentence) and not of_data:
                return _lost(said, f'its {name} says "{sentence[:_MOST_SHOWN]}", its licence {said.licence}')
    return said


def _lost(said: Stated, why: str) -> Stated:
    return replace(said, licence=UNKNOWN, reason=clean(why))
