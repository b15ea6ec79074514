"""Which licence a model states: on its card, in a licence file, or in both where they agree.

two signs that disagree, or a list of several licences, are no licence
all rights reserved, and none granted, is one that forbids: who says it has thought about it

"All rights reserved" stands in free licences too, and below cards, so that it counts where nothing beside it grants.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from mergebarrier.checkpoint import LICENCE_FILES
from mergebarrier.errors import clean
from mergebarrier.lineage.licence import UNKNOWN, named
from mergebarrier.lineage.licence_texts import as_list, identify
from mergebarrier.lineage.signs import folded

_RESERVED: Final = re.compile(
    r"\b(?:all rights? (?:are )?reserved|alle rechte vorbehalten|tous droits réservés|todos los derechos reservados"
    r"|todos os direitos reservados|tutti i diritti riservati)\b|保留所有权利|版权所有"
)
#: One of which stands in all that the pattern finds: to ask for them first is much the quicker.
_RESERVES: Final = ("reserved", "vorbehalten", "réservés", "reservados", "riservati", "保留所有权利", "版权所有")
_PROPRIETARY: Final = re.compile(r"(?:\w+ )?proprietary(?: licen[sc]e)?")
_GRANTS: Final = re.compile(
    r"\b(?:permission is (?!required|needed|denied)|(?:is|are) (?:hereby )?(?:granted|permitted|allowed)"
    r"|grants? (?:you|to)|licen[sc]ed (?:to|under)|you (?:may|can)(?! not)|you are free|free to)\b"
)
#: What is said of a grant that is none.
_DENIES: Final = re.compile(r"\b(?:no|not|nor|neither)\b[\w ]{0,60}?\b(?:granted|permitted|allowed|licen[sc]ed)\b")


@dataclass(frozen=True)
class Stated:
    """What licence a model states; every text is escaped and short.

    Attributes:
      licence: identifier of ``licence.KINDS``, or "unknown".
      written: the card's ``license``, else the name of the file that it was read from; "" for neither.
      name:    ``license_name``.
      link:    ``license_link``.
      reason:  why the licence is unknown; "" when it is known.
    """

    licence: str = UNKNOWN
    written: str = ""
    name: str = ""
    link: str = ""
    reason: str = "there is neither a model card with a licence nor a licence file"


def stated(head: Mapping[str, object], fault: str, files: Mapping[str, bytes]) -> Stated:
    """Return the licence that a model states.

    Args:
      head:  of its card.
      fault: why the card cannot be read, "" where it can.
      files: name -> bytes, of cards and licence files.
    """
    written = [clean(text) for text in as_list(head.get("license"))]
    name, link = (", ".join(map(clean, as_list(head.get(f"license_{key}")))) for key in ("name", "link"))
    held = {file: identify(files[file]) for file in LICENCE_FILES if file in files}
    if fault:
        return Stated(reason=f"its model card cannot be read: {fault}", written=next(iter(held), ""))
    said = ", ".join(written)
    by_card = [licence for text in written for licence in named(text)]
    if by_card in ([], [UNKNOWN]) and name:
        by_card = list(named(name))
    if len(by_card) > 1:
        return Stated(UNKNOWN, said, name, link, f"its card names several licences: {said}")
    signs = [("card says", licence) for licence in by_card if licence != UNKNOWN]
    signs += [(f"{file} reads", licence) for file, licence in held.items() if licence != UNKNOWN]
    for (one, ours), (other, theirs) in pairwise(signs):
        if not _agree(ours, theirs):
            return Stated(UNKNOWN, said, name, link, f"its {one} {ours}, its {other} {theirs}")
    if signs:
        return Stated(signs[0][1], said or next(iter(held), ""), name, link, "")
    reason = Stated().reason
    if said or name:
        called = " ".join(filter(None, (said, f"({name or link})" if name or link else "")))
        reason = f"its licence {called} is not in the table"
    elif held:
        reason = f"its {next(iter(held))} is none of the texts that are known"
    return Stated(UNKNOWN, said or next(iter(held), ""), name, link, reason)


def _agree(one: str, other: str) -> bool:
    """Say whether two identifiers may mean one text: the same, or a family and a member of it."""
    return one == other or (one == "openrail" and "rail" in other)


def reserved(said: Stated, licences: Mapping[str, str], cards: Mapping[str, str]) -> str:
    """Return where a model reserves all rights and grants none, as the subject of a sentence; "" where it does not.

    Args:
      said:     what licence it states.
      licences: name -> words of licence files, folded: one that grants nothing counts whatever the card says.
      cards:    name -> text: a line below a card counts where there is no other word about the terms.
    """
    known = said.licence != UNKNOWN
    for named_so in () if known else (said.written, said.name):
        words = folded(named_so)
        if _RESERVED.search(words) or _PROPRIETARY.fullmatch(words):
            return f"its licence {named_so}"
    silent = not (known or said.written or said.name)
    reserving = (name for name, text in cards.items() if silent and _reserves(folded(text)))
    counting = (name for name in licences if not known or name in LICENCE_FILES)  # a notice beside one counts for none
    closing = (name for name in counting if _reserves(licences[name]) and not _grants(licences[name]))
    found = next(closing, "") or next(reserving, "")
    return found and f"its {clean(found)}, which reserves all rights,"


def _reserves(words: str) -> bool:
    return any(word in words for word in _RESERVES) and _RESERVED.search(words) is not None


def _grants(words: str) -> bool:
    return _GRANTS.search(_DENIES.sub(" ", words)) is not None
