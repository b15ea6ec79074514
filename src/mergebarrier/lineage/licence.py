"""Which licences there are: what each asks of a merge, what it may become, and how people write its name.

    named(SPDX expression or words) = identifiers of KINDS, "unknown" for what is not in the table

The tables are literal, small and err towards "unknown". They are a reading of the licences' own words (for Creative
Commons and the GNU licences, of the compatibility lists that their stewards publish), made by engineers: no legal
advice. Source: creativecommons.org/compatiblelicenses, gnu.org/licenses/license-list. Differs from other mergers: they
do not look.
"""

import re
from collections.abc import Mapping
from typing import Final

from mergebarrier.lineage.signs import folded

UNKNOWN: Final = "unknown"

_PERMISSIVE = ("cc0-1.0", "unlicense", "isc", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0")
_CC_VERSIONS = ("1.0", "2.0", "2.5", "3.0", "4.0")


def _cc(terms: str) -> tuple[str, ...]:
    return tuple(f"cc-{terms}-{version}" for version in _CC_VERSIONS)


_ATTRIBUTION = _cc("by")
_SHARE_ALIKE = _cc("by-sa")
_NON_COMMERCIAL = _cc("by-nc")
_NON_COMMERCIAL_SHARE_ALIKE = _cc("by-nc-sa")
_RESEARCH = ("qwen-research", "tongyi-qianwen-research")
NO_DERIVATIVES = (*_cc("by-nd"), *_cc("by-nc-nd"))
_WEAK_COPYLEFT = ("mpl-2.0",)
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
    "no-derivatives": ("allows no derivatives to be shared, and a merge is one", NO_DERIVATIVES),
    "weak-copyleft": ("asks that what was under it stays under it, whatever is added", _WEAK_COPYLEFT),
    "copyleft": ("asks that a derivative stays under it, without further restrictions", _COPYLEFT),
    "use-restricted": ("asks that its restrictions of use are passed on", _USE_RESTRICTED),
    "community": ("asks that a derivative is passed on under this agreement", _COMMUNITY),
}
KIND_OF: Mapping[str, str] = {name: kind for kind, (_, members) in KINDS.items() for name in members}

#: licence -> the licences that a work made with it may be under as a whole (its own notices stay with it).
_ANY_OWN = (*_ATTRIBUTION, *_NON_COMMERCIAL, *_RESEARCH, *_USE_RESTRICTED, *_COMMUNITY, *_WEAK_COPYLEFT)
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
    "mpl-2.0": ("gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0"),
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

#: What people write for the identifiers above, as words; a Creative Commons name without a version is the newest.
_ALIASES: Mapping[str, str] = {
    **{folded(name): name for name in KIND_OF},
    **{folded(f"{name}{form}"): name for name in _COPYLEFT for form in (" only", " or later", "+")},
    **{f"cc {folded(terms)}": f"cc-{terms}-4.0" for terms in ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd")},
    "apache": "apache-2.0", "apache2": "apache-2.0", "apache 2": "apache-2.0", "apache software 2 0": "apache-2.0",
    "the mit": "mit", "cc0": "cc0-1.0", "mozilla public 2 0": "mpl-2.0", "llama 2": "llama2", "llama 3": "llama3",
    "llama 3 1": "llama3.1", "llama 3 2": "llama3.2", "llama 3 3": "llama3.3", "llama 4": "llama4",
    "llama 2 community": "llama2", "llama 3 community": "llama3", "llama 3 1 community": "llama3.1",
    "llama 3 2 community": "llama3.2", "llama 3 3 community": "llama3.3", "llama 4 community": "llama4",
    "gemma terms of use": "gemma", "tongyi qianwen agreement": "tongyi-qianwen",
}  # fmt: skip
_EXPRESSION = re.compile(r"\b(?:and|or|with)\b|[()]", re.IGNORECASE)
_LONGEST_EXPRESSION = 1_000
#: The GNU licences have two identifiers each; a card that says neither means the narrower one.
_SPDX: Mapping[str, str] = {name: f"{name}-only" for name in _COPYLEFT}
#: Words of the long names of Creative Commons licences, and words that say nothing.
_SHORTER: Mapping[str, str] = {
    "creative": "cc", "commons": "", "attribution": "by", "noncommercial": "nc", "noderivatives": "nd",
    "noderivs": "nd", "sharealike": "sa", "license": "", "licence": "", "international": "", "unported": "",
    "generic": "", "version": "",
}  # fmt: skip
_LONG = ((" non commercial", " noncommercial"), (" no derivatives", " noderivatives"), (" share alike", " sharealike"))


def known(licence: str) -> str:
    """Return the identifier of the tables for a licence as written, or "unknown".

    Example: >>> known("Apache 2.0"), known("my own")
             ('apache-2.0', 'unknown')
    """
    words = f" {folded(licence)}"
    for long, short in _LONG:
        words = words.replace(long, short)
    word = " ".join(filter(None, (_SHORTER.get(part, part) for part in words.split())))
    return _ALIASES.get(word.removeprefix("the "), UNKNOWN)


def named(licence: str) -> tuple[str, ...]:
    """Return what ``known`` makes of each licence of an SPDX expression, or of the text as it stands.

    Example: >>> named("(MIT OR CC-BY-ND-4.0) AND Apache-2.0")
             ('mit', 'cc-by-nd-4.0', 'apache-2.0')
    """
    if known(licence) != UNKNOWN or len(licence) > _LONGEST_EXPRESSION or not _EXPRESSION.search(licence):
        return (known(licence),)
    from license_expression import ExpressionError, get_spdx_licensing

    spdx = get_spdx_licensing()
    try:
        parts = spdx.license_symbols(spdx.parse(licence), unique=True, decompose=False)
    except ExpressionError:
        return (UNKNOWN,)
    # An exception ("GPL-2.0-only WITH ...") makes another licence of the one that it is added to.
    return tuple(dict.fromkeys(known(str(part)) for part in parts)) or (UNKNOWN,)


def spdx_identifier(licence: str) -> str | None:
    """Return the identifier that SPDX has for a licence of the tables; None for one that it does not list."""
    from license_expression import get_spdx_licensing

    found = get_spdx_licensing().known_symbols_lowercase.get(_SPDX.get(licence, licence))
    return None if found is None else str(found.key)
