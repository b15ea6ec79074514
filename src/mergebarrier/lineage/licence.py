"""What the licences of the inputs mean for their merge: compatible, conflict or unknown, with the reason in words.

A merge takes the licence of one of its inputs or none: never one that no input has, and never the laxest.

    result = the R among the inputs such that every other licence L has R in MAY_BECOME[L]
    conflict = some pair of kinds is in CLASHES, or an input allows no derivatives;   unknown = everything else

The tables are literal, small and err towards "unknown". They are a reading of the licences' own words (for Creative
Commons and the GNU licences, of the compatibility lists that their stewards publish), made by engineers: no legal
advice. Source: creativecommons.org/compatiblelicenses, gnu.org/licenses/license-list. Differs from other mergers: they
do not look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

COMPATIBLE: Final = "compatible"
CONFLICT: Final = "conflict"
UNKNOWN: Final = "unknown"

_PERMISSIVE = ("cc0-1.0", "unlicense", "isc", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0")
_ATTRIBUTION = ("cc-by-3.0", "cc-by-4.0")
_SHARE_ALIKE = ("cc-by-sa-3.0", "cc-by-sa-4.0")
_NON_COMMERCIAL = ("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0")
_NON_COMMERCIAL_SHARE_ALIKE = ("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0")
_RESEARCH = ("qwen-research", "tongyi-qianwen-research")
_NO_DERIVATIVES = ("cc-by-nd-3.0", "cc-by-nd-4.0", "cc-by-nc-nd-2.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0")
_COPYLEFT = ("gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0")
_USE_RESTRICTED = (
    "openrail", "openrail++", "creativeml-openrail-m", "bigscience-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m",
)  # fmt: skip
_COMMUNITY = (
    "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma", "qwen", "tongyi-qianwen",
)  # fmt: skip

#: kind -> (what it asks of a merge, its members).
KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "permissive": ("asks for its notice to be kept", _PERMISSIVE),
    "attribution": ("asks for attribution", _ATTRIBUTION),
    "share-alike": ("asks that a derivative stays under it, with nothing added", _SHARE_ALIKE),
    "non-commercial": ("allows no commercial use", (*_NON_COMMERCIAL, *_RESEARCH)),
    "non-commercial-share-alike": (
        "allows no commercial use and asks that a derivative stays under it",
        _NON_COMMERCIAL_SHARE_ALIKE,
    ),
    "no-derivatives": ("allows no derivatives to be shared, and a merge is one", _NO_DERIVATIVES),
    "copyleft": ("asks that a derivative stays under it, without further restrictions", _COPYLEFT),
    "use-restricted": ("asks that its restrictions of use are passed on", _USE_RESTRICTED),
    "community": ("asks that a derivative is passed on under this agreement", _COMMUNITY),
}
_KIND_OF: Mapping[str, str] = {name: kind for kind, (_, members) in KINDS.items() for name in members}

#: licence -> the licences that a work made with it may be under as a whole (its own notices stay with it).
_ANY_OWN = (*_ATTRIBUTION, *_NON_COMMERCIAL, *_RESEARCH, *_USE_RESTRICTED, *_COMMUNITY)
MAY_BECOME: Mapping[str, tuple[str, ...]] = {
    "cc0-1.0": (*_PERMISSIVE[1:], *_ANY_OWN, *_SHARE_ALIKE, *_NON_COMMERCIAL_SHARE_ALIKE, *_COPYLEFT),
    "unlicense": (*_PERMISSIVE[2:], *_ANY_OWN, *_SHARE_ALIKE, *_NON_COMMERCIAL_SHARE_ALIKE, *_COPYLEFT),
    "isc": (*_PERMISSIVE[3:], *_ANY_OWN, *_COPYLEFT),
    "mit": (*_PERMISSIVE[4:], *_ANY_OWN, *_COPYLEFT),
    "bsd-2-clause": (*_PERMISSIVE[5:], *_ANY_OWN, *_COPYLEFT),
    "bsd-3-clause": (*_PERMISSIVE[6:], *_ANY_OWN, *_COPYLEFT),
    "apache-2.0": (*_ANY_OWN, "gpl-3.0", "lgpl-3.0", "agpl-3.0"),
    "cc-by-3.0": ("cc-by-4.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-sa-4.0"),
    "cc-by-4.0": ("cc-by-nc-4.0", "cc-by-sa-4.0", "cc-by-nc-sa-4.0", "gpl-3.0", "agpl-3.0", *_USE_RESTRICTED),
    "cc-by-sa-3.0": ("cc-by-sa-4.0",),
    "cc-by-sa-4.0": ("gpl-3.0",),
    "cc-by-nc-2.0": ("cc-by-nc-3.0", "cc-by-nc-4.0"),
    "cc-by-nc-3.0": ("cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    "cc-by-nc-4.0": ("cc-by-nc-sa-4.0",),
    "cc-by-nc-sa-2.0": ("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    "cc-by-nc-sa-3.0": ("cc-by-nc-sa-4.0",),
    "lgpl-2.1": ("gpl-2.0", "gpl-3.0", "agpl-3.0"),
    "lgpl-3.0": ("gpl-3.0", "agpl-3.0"),
    "gpl-3.0": ("agpl-3.0",),
    "creativeml-openrail-m": ("openrail++",),
}

#: pairs of kinds, in this order, whose demands exclude each other -> why.
CLASHES: Mapping[tuple[str, str], str] = {
    ("copyleft", "non-commercial"): "the one forbids further restrictions, the other restricts use",
    ("copyleft", "non-commercial-share-alike"): "each asks for the whole under itself",
    ("copyleft", "use-restricted"): "the one forbids further restrictions, the other restricts use",
    ("copyleft", "community"): "the one forbids further restrictions, the other restricts use",
    ("share-alike", "non-commercial"): "the one allows nothing to be added, the other restricts use",
    ("share-alike", "non-commercial-share-alike"): "each asks for the whole under itself",
    ("share-alike", "use-restricted"): "the one allows nothing to be added, the other restricts use",
    ("share-alike", "community"): "each asks for the whole under itself",
    ("non-commercial-share-alike", "use-restricted"): "the one allows nothing to be added, the other restricts use",
    ("non-commercial-share-alike", "community"): "each asks for the whole under itself",
}
#: The same for single licences.
_PAIRS: Mapping[tuple[str, str], str] = {
    ("apache-2.0", "gpl-2.0"): "the patent terms of the one are a further restriction to the other",
}
#: What people write for the identifiers above.
_ALIASES: Mapping[str, str] = {
    "apache 2.0": "apache-2.0", "apache2": "apache-2.0", "apache-2": "apache-2.0", "apache license 2.0": "apache-2.0",
    "apache": "apache-2.0", "the mit license": "mit", "mit license": "mit", "cc-by": "cc-by-4.0",
    "cc-by-nc": "cc-by-nc-4.0", "cc-by-nc-sa": "cc-by-nc-sa-4.0", "cc-by-sa": "cc-by-sa-4.0", "cc0": "cc0-1.0",
    "agpl-3.0-only": "agpl-3.0", "agpl-3.0-or-later": "agpl-3.0", "gpl-3.0-only": "gpl-3.0",
    "gpl-3.0-or-later": "gpl-3.0", "lgpl-3.0-only": "lgpl-3.0", "lgpl-3.0-or-later": "lgpl-3.0",
    "gpl-2.0-only": "gpl-2.0", "lgpl-2.1-only": "lgpl-2.1", "llama-2": "llama2", "llama 2": "llama2",
    "llama-3": "llama3", "llama-3.1": "llama3.1", "llama-3.2": "llama3.2", "llama-3.3": "llama3.3",
    "gemma-terms-of-use": "gemma", "tongyi-qianwen-license-agreement": "tongyi-qianwen", "qwen-license": "qwen",
    "tongyi-qianwen-research-license": "tongyi-qianwen-research", "qwen-research-license": "qwen-research",
}  # fmt: skip


@dataclass(frozen=True)
class Conclusion:
    """What the licences of the inputs mean for the merge.

    Attributes:
      verdict: "compatible", "conflict" or "unknown".
      licence: of the merge; None without a verdict of "compatible".
      reason:  one sentence for people.
      stops:   whether an input allows no derivatives: the merge needs an acknowledgement.
    """

    verdict: str
    licence: str | None
    reason: str
    stops: bool = False


def known(licence: str) -> str:
    """Return the identifier of the tables for a licence as written, or "unknown".

    Example: >>> known("Apache 2.0"), known("my own")
             ('apache-2.0', 'unknown')
    """
    word = " ".join(licence.lower().split())
    word = _ALIASES.get(word, word)
    return word if word in _KIND_OF else UNKNOWN


def allows_derivatives(licence: str) -> bool:
    """Say whether a licence, known to the tables or not, lets a merge be shared as far as the tables know."""
    return _KIND_OF.get(licence) != "no-derivatives"


def conclude(inputs: Sequence[tuple[str, str]]) -> Conclusion:
    """Judge a merge.

    Args:
      inputs: (name for people, licence as ``known`` returns it) of every input, the base among them.
    Returns: Conclusion; the same for any order of the inputs but for the wording.
    """
    for name, licence in inputs:
        if not allows_derivatives(licence):
            return Conclusion(CONFLICT, None, f"{licence} of {name} {_asks(licence)}", stops=True)
    holders: dict[str, str] = {}
    for name, licence in inputs:
        holders.setdefault(licence, name)
    licences = [licence for licence in holders if licence != UNKNOWN]
    for i, one in enumerate(licences):
        for other in licences[i + 1 :]:
            why = _clash(one, other)
            if why is not None:
                what = f"{one} of {holders[one]} and {other} of {holders[other]} exclude each other: {why}"
                return Conclusion(CONFLICT, None, what)
    if UNKNOWN in holders or not holders:
        nobody = holders.get(UNKNOWN, "no input")
        return Conclusion(UNKNOWN, None, f"{nobody} declares no licence that is in the table; ask its owner")
    if len(licences) == 1:
        return Conclusion(COMPATIBLE, licences[0], f"all inputs are under {licences[0]}, which {_asks(licences[0])}")
    for result in licences:
        if all(other == result or result in MAY_BECOME.get(other, ()) for other in licences):
            others = ", ".join(sorted(other for other in licences if other != result))
            what = f"{others} may become part of a work under {result}, which {_asks(result)}"
            return Conclusion(COMPATIBLE, result, f"{what}; the notices of every input stay with it")
    listed = ", ".join(sorted(licences))
    return Conclusion(UNKNOWN, None, f"the table knows no one of {listed} that covers the others; each of them applies")


def _asks(licence: str) -> str:
    return KINDS[_KIND_OF[licence]][0]


def _clash(one: str, other: str) -> str | None:
    kinds = (_KIND_OF[one], _KIND_OF[other])
    for table, pair in ((_PAIRS, (one, other)), (CLASHES, kinds)):
        why = table.get(pair) or table.get((pair[1], pair[0]))
        if why is not None and not (other in MAY_BECOME.get(one, ()) or one in MAY_BECOME.get(other, ())):
            return why
    return None
