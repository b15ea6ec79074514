"""Signs that a text forbids derivatives or asks not to be merged, in any spelling that a person would write.

    folded(text) = NFKC, case folded, apostrophes dropped, runs of letters and digits with one blank between
    a sign = a pattern that occurs in the folded text;  no sign is no permission

Short texts (identifiers, tags, names, links, keys) and prose are asked differently: a tag "no-merge" is a wish, while
"they do not merge well" in the middle of a card is none.  Patterns err towards a sign: a false one costs a merger one
option, a missed one costs an owner the model.  Source: the six licences of Creative Commons, cards on the Hub.
Differs from a licence scanner: it looks for one demand, wherever it stands and whoever worded it.
"""

import re
import unicodedata

_QUOTES = re.compile("['\u2019\u2018`\u00b4]")
_WORD = re.compile(r"[^\W_]+\+*")
_NOT = r"(?:do ?not|dont|donot|never|please no|no|not for|not to be)"
_BARRED = r"(?:not (?:allowed|permitted|licensed|authori[sz]ed|wanted|welcome)|forbidden|prohibited|disallowed|denied)"
_MUST = r"(?:may|must|shall|should|are|is|will) not"

_NO_DERIVATIVES = re.compile(
    r"\bno ?deriv\w*+(?! of)"
    r"|\bnon deriv\w*"
    r"|\b(?:cc ?)?by ?(?:nc ?)?nd(?:\b|\d)"
    r"|\bcc (?:nc )?nd\b"
    rf"|\bderiv(?:ative|ation)s?(?: works?)? (?:(?!these)\w+ ){{0,3}}?{_BARRED}"
    rf"|\b(?:{_MUST}|do not|cannot|can not) (?:\w+ ){{0,8}}?"
    r"(?:creat|mak|prepar|produc|distribut|shar|publish)\w* (?:\w+ ){0,4}?deriv(?:ative|ation)"
    rf"|\b(?:modif(?:y|ied|ication|ications)|adaptations?) (?:\w+ ){{0,3}}?{_BARRED}"
)
_SHORT_WISH = re.compile(
    rf"(?:please )?{_NOT} ?(?:re)?merg(?:e|es|ing|ers?)\b.*"
    rf"|(?:{_MUST}|not to|do not|cannot|can not) be ?merged\b.*"
    rf"|merg(?:e|es|ing|ers?) (?:\w+ ){{0,3}}?{_BARRED}.*"
)
_PROSE_WISH = re.compile(
    r"\b(?:do ?not|dont|never|please no) (?:re)?merge (?:this|these|it|our|my|the (?:\w+ ){0,2}(?:model|weights|check))"
    rf"|\b(?:{_MUST}|not to) be (?:\w+ )?merged\b(?! (?:yet|until|before|back))"
    rf"|\bmerg(?:e|es|ing|ers) (?:\w+ ){{0,6}}?(?:is |are )?{_BARRED}"
    r"|\b(?:no|not for) merg(?:es|ing|ers)\b"
    rf"|\b(?:{_MUST}|do not|cannot|can not) (?:be )?(?:used?|using|includ\w*) (?:\w+ ){{0,6}}?(?:in|for) (?:\w+ )?merg"
    r"|\b(?:does|do) not (?:allow|permit|authori[sz]e|licen[sc]e) (?:\w+ ){0,3}?merg"
)
_PROSE_LICENCE = re.compile(r"\blicen[sc]ed?(?: \w+){0,6}? (?:cc )?by (?:nc )?nd\b")


def folded(text: str) -> str:
    """Reduce a text to its words.

    Example: >>> folded("CC_BY\u2011NC\u2013ND 4.0"), folded("Don\u2019t  MERGE!")
             ('cc by nc nd 4 0', 'dont merge')
    """
    plain = _QUOTES.sub("", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_WORD.findall(plain))


def forbids_derivatives(text: str) -> bool:
    """Say whether an identifier, a name, a link or the text of a licence holds a sign that forbids derivatives."""
    return _NO_DERIVATIVES.search(folded(text)) is not None


def asks_not_to_merge(text: str) -> bool:
    """Say whether a short text, such as a tag or a key, is a wish not to be merged."""
    return _SHORT_WISH.fullmatch(folded(text)) is not None


def signs_in_prose(text: str) -> tuple[str, str]:
    """Return the words of a wish not to be merged, and those of a licence without derivatives; "" for none."""
    words = folded(text)
    wish, licence = _PROSE_WISH.search(words), _PROSE_LICENCE.search(words)
    return (wish[0] if wish else ""), (licence[0] if licence else "")
