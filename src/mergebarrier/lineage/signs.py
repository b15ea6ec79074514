"""Signs that a text forbids derivatives or asks not to be merged, in any spelling that a person would write.

    folded(text) = NFKC, case folded, apostrophes and unseen characters dropped, in a word of Latin letters those of
                   other scripts that look alike made Latin, runs of letters and digits with one blank between
    a sign = a pattern that occurs in the folded text;  no sign is no permission

Short texts (identifiers, tags, names, links, keys) and prose are asked differently: a tag "no-merge" is a wish, while
"they do not merge well" in the middle of a card is none.  Patterns err towards a sign: a false one costs a merger one
option, a missed one costs an owner the model.  Source: the licences of Creative Commons, with their names in other
languages, and cards on the Hub.  Differs from a licence scanner: it looks for one demand, wherever it stands.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

_DROPPED = re.compile("['\u2019\u2018`\u00b4\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_WORD = re.compile(r"[^\W_]+\+*")
_LATIN = re.compile("[a-z]")
#: Letters of Cyrillic and Greek, and those of Latin that they are drawn as.
_LOOKALIKES: Final = str.maketrans("аеорсухіѕјԁһӏкмтвнοαντιρκ", "aeopcyxisjdhlkmtbhoavtipk")
_CROSS = re.compile("[\u274c\u2717\u2718\u2716\u26d4\U0001f6ab]")
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]{0,500}>|<!--|-->")

_NOT = r"(?:do ?not|dont|donot|never|please no|no|anti|not for|not to be)"
_BARRED = (
    r"(?:(?:not|isnt|arent) (?:allowed|permitted|licensed|authori[sz]ed|granted|wanted|welcome|ok|okay)"
    r"|unwelcome|forbid(?:den)?|prohibit(?:ed)?|disallow(?:ed)?|den(?:ied|y)|disabled)"
)
_MUST = r"(?:(?:may|must|shall|should|are|is|will) not|(?:must|should|are|is|wo)nt|never)"
_CANNOT = r"(?:cannot|can not|cant)"
_MAY_NOT = (
    r"(?:(?:may|must|shall|should) not"
    r"|(?:not (?:allowed|permitted|licensed|authori[sz]ed)|forbidden|prohibited) (?:to|from))"
)
_OURS = r"(?:this|these|it|our|my|any part of|the (?:\w+ ){0,2}(?:model|weights|check))"
_MAKE = r"(?:creat|mak|prepar|produc|distribut|shar|publish)\w*"
_LEAVE = r"(?:permission|consent|approval|authori[sz]ation)"
_ASK = r"(?:i|we|owner|author) (?:\w+ )?(?:ask|request|prefer|require|demand|insist)s?"
_MIX = r"(?:combine|mix|fuse|blend|average|interpolate)"
_MERGEN = r"(?:mergen|merge|fusionieren|verschmelzen|zusammenzuf[üu]hren|zusammenf[üu]hren)"
#: Both signs in other languages, folded; scripts without blanks between words stand as they are.
_NO_DERIVATIVES_ELSEWHERE = (
    r"\bkeine (?:bearbeitung|abgeleitet|derivat)\w*|\bpas de (?:modification|(?:travaux |œuvres? )?dérivé)\w*"
    r"|\bsin ?(?:obras? ?)?derivad\w*|\bsense ?(?:obres? ?)?derivad\w*|\bnon opere derivate|\bsem ?deriva\w*"
    r"|\bgeen ?afgeleide\w*|\bbez utworów zależnych|\bбез производных|\bбез похідних|\bingen bearbe\w*|\binga bearbe\w*"
    r"|\bei muutoksia|\bnezpracov\w*|\btüretilemez|\btanpa ?turunan|\bόχι παράγωγα|改変を?禁止|변경 ?금지|منع الاشتقاق"
    r"|(?:禁止|不得|不可)(?:演[绎繹]|改作|修改|衍生)"
)
_WISH_ELSEWHERE = (
    r"\bnicht (?:zum? |ge)?(?:merge|mergt|fusionier|verschmelz|verschmolz|zusammenf[üu]hr)\w*"
    r"|\bkeine? (?:merges?|merging|fusion(?:en)?|zusammenf[üu]hrung)\b"
    rf"|\b(?:nicht (?:gestattet|erlaubt|zulässig)|untersagt|verboten) (?:\w+ ){{0,5}}?{_MERGEN}\b"
    r"|\b(?:merg|fusionier|verschmelz|zusammenf[üu]hr)\w* (?:\w+ ){0,5}?"
    r"(?:untersagt|verboten|nicht (?:gestattet|erlaubt))"
    r"|\binterdit (?:\w+ ){0,2}?fusionner\b|\bvietat\w (?:\w+ )?(?:fondere|unire|fusionare|mescolare)\b"
    r"|\bnão (?:é|são) permitid\w (?:\w+ )?(?:fundir|mesclar)|\bproibid\w (?:\w+ )?(?:fundir|mesclar)"
    r"|\bобъединени\w+ (?:\w+ ){0,4}запрещ"
    r"|\bne (?:doi(?:t|vent) |peu(?:t|vent) )?pas (?:être )?(?:fusionn|merg)\w*|\b(?:fusion interdite|pas de fusion)\b"
    r"|\b(?:no|prohibido) (?:se (?:puede|permite) )?(?:fusionar|fusione|mezclar|mezcle)\w*"
    r"|\bnon (?:fondere|unire|fusionare|mescolare)\b|\bnão (?:fund|mescl|merge)\w*"
    r"|\bне (?:слива|объедин|мердж)\w*|\bзапрещ\w+ слияни\w*|\bслияни\w+ запрещ\w+"
    r"|(?:禁止|不得|请勿|請勿|不要|勿|不允许|严禁|不可)\w{0,16}(?:合并|合併|融合)|(?:合并|合併|融合)\w{0,3}(?:禁止|不可)"
    r"|(?:マージ|統合)\w{0,4}(?:禁止|不可|しない|お断り)|(?:병합|머지)\w{0,2} ?(?:금지|하지)"
)

_NO_DERIVATIVES = re.compile(
    r"\bno ?deriv\w*+(?! of)"
    r"|\bnon deriv\w*"
    r"|\b(?:cc ?)?by ?(?:nc ?)?nd(?:\b|\d)"
    r"|\bcc (?:nc )?nd\b"
    rf"|\bderiv(?:ative|ation)s?(?: works?)? (?:(?!these)\w+ ){{0,3}}?{_BARRED}"
    rf"|\b(?:{_MUST}|do not|cannot|can not) (?:\w+ ){{0,8}}?{_MAKE} (?:\w+ ){{0,4}}?deriv(?:ative|ation)"
    rf"|\b(?:modif(?:y|ied|ication|ications)|adaptations?) (?:\w+ ){{0,3}}?{_BARRED}"
    r"|\bno (?:modifications?|adaptations?)(?: (?:allowed|permitted)\b|$)|\b(?:verbatim cop\w+|unmodified \w+) only\b"
    rf"|{_NO_DERIVATIVES_ELSEWHERE}"
)
_SHORT_WISH = re.compile(
    rf"(?:please )?{_NOT} ?(?:(?:model|weights?|further) ?)?"
    r"(?:(?:re|franken)?merg(?:e|es|ing|ers?|ekit)|fuse|fusing|blend|blending)\b.*"
    rf"|(?:{_MUST}|{_CANNOT}|do not|not to) be ?merged\b.*|(?:keep|stay|remain) unmerged|(?:model )?merging off"
    rf"|merg(?:e|es|ing|ers?) (?:\w+ ){{0,3}}?{_BARRED}.*"
    r"|(?:un|non|not) ?merge?able"
    rf"|(?:{_WISH_ELSEWHERE}).*"
)
#: What is the whole of a sentence, of a line, or of what stands beside a colon.
_BARE_WISH = re.compile(
    r"(?:(?:please|kindly) )?(?:do ?not|dont|never|no|not for|not to be) (?:\w+ )?(?:franken)?merg(?:e|es|ing|ed|ers)"
    r"(?: please| it| them| allowed| permitted)?|(?:model )?merg(?:e|es|ing) (?:allowed|permitted|ok) no"
)
_BARE_NO = re.compile(r"(?:model )?merg(?:e|es|ing) no")
#: In a head this is a setting of a tool, and no wish.
_YAML_LINE = re.compile(r"\s*merg(?:e|es|ing):\s+\S+\s*")
_PROSE_WISH = re.compile(
    rf"\b(?:do ?not|dont|never|please no|{_MUST}|{_CANNOT}|not to) (?:\w+ )?(?:re)?merge {_OURS}"
    rf"|\b(?:{_MUST}|not to) be (?:\w+ )?merged\b(?! (?:yet|until|before|back))"
    rf"|\bthis (?:\w+ )?{_CANNOT} be merged\b|\bremain unmerged\b"
    r"|\b(?:may|must|shall|can|should) under no circumstances be merged\b"
    rf"|\b{_ASK} (?:\w+ ){{0,5}}?not (?:be )?merged?\b"
    rf"|\b{_MAY_NOT} (?:\w+ ){{0,2}}?(?:merge\b|{_MAKE} (?:\w+ ){{0,3}}?merge)"
    r"|\bno (?:\w+ ){0,5}?may be merged\b"
    rf"|\bmerg(?:e|es|ing|ers) (?:\w+ ){{0,6}}?(?:is |are )?{_BARRED}"
    r"|\b(?:no|not for) merg(?:es|ing|ers)\b"
    rf"|\b(?:{_MUST}|{_CANNOT}|do ?not|dont|not to) (?:be )?(?:used?|using|includ\w*) (?:\w+ ){{0,6}}?"
    r"(?:in|for) (?:\w+ )?merg"
    r"|\b(?:not|isnt|arent) (?:available|licensed|intended|meant|for use) (?:in|for) (?:\w+ )?merg"
    rf"|\bno (?:right|licen[sc]e|{_LEAVE}) (?:\w+ ){{0,3}}?to (?:\w+ )?merge\b"
    r"|\bmerging (?:\w+ ){0,4}?(?:violates|breaches|infringes)\b"
    r"|\b(?:does|do) not (?:allow|permit|authori[sz]e|licen[sc]e|consent|agree|want|wish|like) (?:\w+ ){0,6}?merg"
    r"|\brefrain from (?:\w+ )?merging\b|\bout of (?:\w+ ){0,2}merges\b"
    rf"|\bmerg(?:e|ed|es|ing) (?:\w+ ){{0,6}}?(?:only|requires|needs|without) (?:\w+ ){{0,5}}?{_LEAVE}"
    rf"|\b(?:do not|dont|never|{_MAY_NOT}) {_MIX} {_OURS}(?! (?:\w+ ){{0,4}}?(?:data|text|prompt|image|output|answer))"
    rf"|{_WISH_ELSEWHERE}"
)
#: What every wish in prose holds one of; a long text without any need not be searched.
_STEMS: Final = (
    "merg", "combine", "mix", "fus", "blend", "average", "interpolate", "verschm", "zusammenf", "fond", "unir", "mesc",
    "fund", "mezcl", "слива", "слияни", "объедин", "мердж", "合并", "合併", "融合", "マージ", "統合", "병합", "머지",
)  # fmt: skip
_PROSE_LICENCE = re.compile(
    r"\blicen[sc]ed?(?: \w+){0,6}? (?:cc )?by (?:nc )?nd\b"
    r"|(?<!requires )(?<!needs )(?<!uses )(?<!with )\bno derivatives?(?: works?| models?)?\b(?! (?:of|was|were|is|are))"
    rf"|\bderivatives?(?: works?| models?)? (?:(?!these)\w+ ){{0,3}}?{_BARRED}"
    rf"|\b(?:{_MAY_NOT}|do not|cannot|can not) (?:\w+ ){{0,3}}?{_MAKE} (?:\w+ ){{0,4}}?derivative"
    rf"|{_NO_DERIVATIVES_ELSEWHERE}"
)
_SIDES = re.compile(r"[:=]")
_SENTENCE_END = re.compile(r"[.!?;\n\u3002]")
_NO: Final = frozenset({"", "false", "no", "off", "0", "never", "n", "none", "null"})
_REFUSED = re.compile(rf"false|no|off|0|never|n|none|{_BARRED}")
#: Keys that ask whether merges, or derivatives, are allowed; a bare "merge" asks so only within a table.
_ABOUT_MERGES = re.compile(
    r"(?:(?:allow|may|can|permit|is)\w* )+(?:be )?merg(?:e|es|ed|ing|eable|able)|merge?able"
    r"|(?:model )?merg(?:e|es|ing) (?:allowed|permitted|permission|policy|ok)|model merg(?:e|es|ing)"
)
#: Keys of lists of what an owner does not want, and merges in such a list.
_BARRING = re.compile(r"(?:restrict|prohibit|forbid|disallow)\w*(?: uses?)?")
_MERGES = re.compile(r"(?:model )?merg(?:e|es|ing)(?: models?)?")
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_BARE_MERGE = re.compile(r"merg(?:e|es|ing)")
#: Keys of a table under a question that hold its answer.
_ANSWERS: Final = frozenset({"value", "answer", "allowed", "permitted", "enabled"})
#: "key: value" or "key=value" within a text, such as a tag.
_PAIR = re.compile(r"\s*([^:=]{1,64}?)\s*[:=]\s*([^:=]{1,64})")
_ABOUT_DERIVATIVES = re.compile(r"(?:(?:allow|may|can|permit)\w* )?derivatives?(?: works?)?(?: allowed| permitted)?")
#: Keys whose values name something else than the model's own terms.
_NAMES = re.compile(r"(?:model |dataset )?(?:name|id)|base models?|datasets?|metrics?|new version|model index|language")


def folded(text: str) -> str:
    """Reduce a text to its words.

    Example: >>> folded("CC_BY\u2011NC\u2013ND 4.0"), folded("Don\u2019t  MERGE!"), folded("d\u043e-n\u043et")
             ('cc by nc nd 4 0', 'dont merge', 'do not')
    """
    words = _WORD.findall(_DROPPED.sub("", unicodedata.normalize("NFKC", text).casefold()))
    if not text.isascii():
        words = [word.translate(_LOOKALIKES) if _LATIN.search(word) else word for word in words]
    return " ".join(words)


def forbids_derivatives(text: str) -> bool:
    """Say whether an identifier, a name, a link or the text of a licence holds a sign that forbids derivatives."""
    return _NO_DERIVATIVES.search(folded(text)) is not None


def asks_not_to_merge(text: str) -> bool:
    """Say whether a short text, such as a tag or a key, is a wish not to be merged."""
    return _SHORT_WISH.fullmatch(folded(text)) is not None


def signs_in_prose(text: str, body: str) -> tuple[str, str]:
    """Return the words of a wish not to be merged, and those of a licence without derivatives; "" for none.

    Args:
      text: a card or a licence, whole.
      body: the part of it in which a line may be a wish on its own; a line of a card's head is asked as an entry.
    """
    words = folded(_unmarked(text))
    wish = _PROSE_WISH.search(words) if any(stem in words for stem in _STEMS) else None
    licence = _PROSE_LICENCE.search(words)
    return (wish[0] if wish else _bare_wish(_unmarked(body))), (licence[0] if licence else "")


def _unmarked(text: str) -> str:
    return html.unescape(_MARKUP.sub(" ", _CROSS.sub(" no ", text)))


def _bare_wish(text: str) -> str:
    """Return the first sentence, line or side of a colon that is a wish and nothing else."""
    for sentence in _SENTENCE_END.split(text):
        if "merg" not in sentence.casefold():
            continue
        row = folded(sentence)
        if _BARE_NO.fullmatch(row) and not _YAML_LINE.fullmatch(sentence):
            return row
        for part in (row, *map(folded, _SIDES.split(sentence))):
            if _BARE_WISH.fullmatch(part):
                return part
    return ""


def signs_in_head(head: Mapping[str, object]) -> tuple[str, str]:
    """Return where the head of a card asks not to be merged, and where it forbids derivatives; "" for nowhere."""
    wish = barred = ""
    for place, key, value in _entries(head, ""):
        shown = _shown(place, folded(key), value)
        wish = wish or (shown if _is_wish(place, key, value) else "")
        barred = barred or (shown if _is_bar(key, value) else "")
    return wish, barred


def signs_in_settings(name: str, table: Mapping[str, object]) -> tuple[str, str]:
    """Return the same for a table that is no card, such as a configuration: its own level, and a table of our name."""
    said = {
        key.removeprefix("modelspec."): value
        for key, value in table.items()
        if not isinstance(value, dict) or key == "mergebarrier"
    }
    wish, barred = signs_in_head(said)
    return (f"{name}: {wish}" if wish else ""), (f"{name}, {barred}" if barred else "")


def latin(name: str) -> str:
    """Return a name with letters of other scripts that look like Latin ones made Latin; in lower case where it has any.

    Example: >>> latin("met\u0430/Llama"), latin("Meta/Llama")
             ('meta/llama', 'Meta/Llama')
    """
    return name if name.isascii() else unicodedata.normalize("NFKC", name).casefold().translate(_LOOKALIKES)


def _entries(table: Mapping[str, object], below: str) -> Iterator[tuple[str, str, object]]:
    """Yield place, key and value of every entry of a table and of the tables in it; a list is an entry per item."""
    for key, value in table.items():
        todo = [value]
        while todo:
            item = todo.pop(0)
            if isinstance(item, list):
                todo += item
                continue
            yield f"{below}{key}", str(key), item
            if isinstance(item, dict):
                yield from _entries(item, f"{below}{key}.")
                todo += [said for name, said in item.items() if folded(str(name)) in _ANSWERS]
            elif isinstance(item, str) and (pair := _PAIR.fullmatch(item)):
                yield from _entries({pair[1]: pair[2]}, f"{below}{key}.")


def _shown(place: str, words: str, value: object) -> str:
    for word, name in (("tag", "tag"), ("licen", "licence link" if "link" in words else "licence")):
        if words.startswith(word):
            return f"{name} {value}"
    return place


def _is_wish(place: str, key: str, value: object) -> bool:
    words, said = folded(_CAPITAL.sub(" ", key)), "" if value is None else folded(str(value))
    if asks_not_to_merge(key) and said not in _NO:
        return True
    barred = any(map(_BARRING.fullmatch, map(folded, place.split("."))))
    if barred and (_MERGES.fullmatch(said) or (_MERGES.fullmatch(words) and said not in _NO)):
        return True
    about = _ABOUT_MERGES.fullmatch(words) or ("." in place and _BARE_MERGE.fullmatch(words))
    if about and value is not None and _REFUSED.fullmatch(said):
        return True
    texts = value.split(",") if isinstance(value, str) and not _NAMES.fullmatch(words) else ()
    return any(map(asks_not_to_merge, texts))


def _is_bar(key: str, value: object) -> bool:
    words, said = folded(key), "" if value is None else folded(str(value))
    if _ABOUT_DERIVATIVES.fullmatch(words) and value is not None and _REFUSED.fullmatch(said):
        return True
    if forbids_derivatives(key) and said not in _NO:
        return True
    spoken = words.startswith(("licen", "tag", "keyword"))
    return spoken and isinstance(value, str | int | float) and forbids_derivatives(str(value))
