"""Signs that a text forbids derivatives or asks not to be merged, in any spelling that a person would write.

    folded(text) = NFKC, case folded, apostrophes and unseen characters dropped, in a word of Latin letters those of
                   other scripts that look alike made Latin, runs of letters and digits with one blank between
    a sign = a pattern that occurs in the folded text;  no sign is no permission

Short texts (identifiers, tags, names, links, keys) and prose are asked differently: a tag "no-merge" is a wish, while
"they do not merge well" in the middle of a card is none, so a learned recogniser weighs the sentences of prose.  Both
err towards a sign: a false one costs a merger one option, a missed one costs an owner the model.  Source: the licences
of Creative Commons, with their names in other languages, and cards on the Hub.  Differs from a licence scanner: it
looks for one demand, wherever it stands.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

from mergebarrier.lineage.recogniser import may_be_wish, speaks_of_merging
from mergebarrier.lineage.wish_words import UNSPACED
from mergebarrier.lineage.wordings import (
    BARE_NO,
    BARE_WISH,
    BARRED,
    NO_DERIVATIVES,
    OF_PARTS,
    OF_THE_MODEL,
    PROSE_LICENCE,
    PROSE_LICENCE_STEMS,
    SHORT_WISH,
)

_DROPPED = re.compile("['\u2019\u2018`\u00b4\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_WORD = re.compile(r"[^\W_]+\+*")
#: In prose, where a sentence ends too: a refusal governs a merge in its own.
_WORD_OR_END = re.compile(r"[^\W_]+\+*|[.!?;](?=\s|$)|[。\x1e]")
#: Where a paragraph, an item of a list or a row begins; the mark stands for it once the text is folded.
_BLOCK = re.compile(r"\n[ \t]*(?=\n|[-*+#>|]|\d+[.)]\s)")
_SENTENCE = re.compile("[.!;\u3002\x1e]")
_LATIN = re.compile("[a-z]")
#: Letters of Cyrillic and Greek, and those of Latin that they are drawn as.
_LOOKALIKES: Final = str.maketrans("аеорсухіѕјԁһӏкмтвнοαντιρκ", "aeopcyxisjdhlkmtbhoavtipk")
_CROSS = re.compile("[\u274c\u2717\u2718\u2716\u26d4\U0001f6ab]")
_CHECK = re.compile("[\u2705\u2714\u2713\u2611\U0001f44c]")
#: An item of a list that is ticked; one that is not may be a plan as well.
_BOX = re.compile(r"^([ \t]*[-*+]) \[[xX]\]", re.MULTILINE)
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]{0,500}>|<!--|-->")
#: In a head this is a setting of a tool, and no wish.
_YAML_LINE = re.compile(r"\s*merg(?:e|es|ing):\s+\S+\s*")
#: In the name of a licence.
_LICENCE_WISH = re.compile(r"\b(?:no|non|without|anti) ?merg(?:e|es|ing|ers)\b")
#: Letters; the longest page of our own documents about merging has a fifth of them.
_MOST_ABOUT_MERGING: Final = 60_000
#: Words; fewer are no sentence, and belong to the one before: "Merging? No."
_FEWEST_WORDS: Final = 4
#: Letters of a sentence that are shown.
_MOST_SHOWN: Final = 160
#: Letters before a licence in which its subject is looked for.
_REACH: Final = 120
_SIDES = re.compile(r"[:=]")
_SENTENCE_END = re.compile(r"[.!;\n\u3002]|\?(?!\s*no\b)", re.IGNORECASE)
_NO: Final = frozenset({"", "false", "no", "off", "0", "never", "n", "none", "null"})
_REFUSED = re.compile(rf"false|no|off|0|never|n|none|{BARRED}")
_FORBIDDEN = re.compile(BARRED)
#: Keys that ask whether merges, or derivatives, are allowed; a bare "merge" asks so only within a table.
_ABOUT_MERGES = re.compile(
    r"(?:(?:allow|may|can|permit|is)\w* )+(?:be )?merg(?:e|es|ed|ing|eable|able)|merge?able"
    r"|(?:model )?merg(?:e|es|ing) (?:allowed|permitted|permission|policy|ok)|model merg(?:e|es|ing)"
)
#: Keys of lists of what an owner does not want, and merges in such a list.
_BARRING = re.compile(
    r"(?:restrict|prohibit|forbid|disallow|exclude?|den(?:y|ied)|not allowed|opt(?:ed)? out)\w*(?: uses?)?"
)
_MERGES = re.compile(r"(?:model )?merg(?:e|es|ing)(?: models?)?")
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
#: A table that an entry stands in, unless it sets up a tool.
_TABLE = re.compile(r"(?!(?:\w+[_.-])*?(?:lora|adapter|peft|quant\w*|train\w*|export)\b)[^.]+\.", re.IGNORECASE)
#: Tables about something beside the model, and paths of such things.
_OF_PARTS = re.compile(
    r"(?:(?:training|eval\w*|test|source) )?(?:data ?sets?|data|images?|pictures?|docs?|documentation|logos?|assets?)"
)
_PARTS = re.compile(r"(?:\./)?(?:docs?|assets?|images?|static|examples?|data|logos?)\b", re.IGNORECASE)
_BARE_MERGE = re.compile(r"merg(?:e|es|ing)")
#: Keys of a table under a question that hold its answer.
_ANSWERS: Final = frozenset({"value", "answer", "allowed", "permitted", "enabled"})
#: "key: value" or "key=value" within a text, such as a tag.
_PAIR = re.compile(r"\s*([^:=]{1,64}?)\s*[:=]\s*([^:=]{1,64})")
_ABOUT_DERIVATIVES = re.compile(
    r"(?:(?:allow|may|can|permit)\w* )?(?:derivatives?(?: works?)?|modifications?|adaptations?|remix(?:es|ing)?)"
    r"(?: allowed| permitted)?"
)
#: Keys whose values name something else than the model's own terms.
_NAMES = re.compile(r"(?:model |dataset )?(?:name|id)|base models?|datasets?|metrics?|new version|model index|language")


def folded(text: str) -> str:
    """Reduce a text to its words.

    Example: >>> folded("CC_BY\u2011NC\u2013ND 4.0"), folded("Don\u2019t  MERGE!"), folded("d\u043e-n\u043et")
             ('cc by nc nd 4 0', 'dont merge', 'do not')
    """
    return _folded(text, _WORD)


def _folded(text: str, kept: re.Pattern[str]) -> str:
    words = kept.findall(_DROPPED.sub("", unicodedata.normalize("NFKC", text).casefold()))
    if not text.isascii():
        words = [word.translate(_LOOKALIKES) if _LATIN.search(word) else word for word in words]
    return " ".join(words)


def forbids_derivatives(text: str) -> bool:
    """Say whether an identifier, a name, a link or the text of a licence holds a sign that forbids derivatives."""
    return NO_DERIVATIVES.search(folded(text)) is not None


def asks_not_to_merge(text: str) -> bool:
    """Say whether a short text, such as a tag or a key, is a wish not to be merged."""
    return SHORT_WISH.fullmatch(folded(text)) is not None


def signs_in_prose(text: str, body: str) -> tuple[str, str]:
    """Return the words of a wish not to be merged, and those of a licence without derivatives; "" for none.

    Args:
      text: a card or a licence, whole.
      body: the part of it in which a line may be a wish on its own; a line of a card's head is asked as an entry.
    """
    words = _folded(_unmarked(text), _WORD_OR_END)
    licence = _licence_in(words, text) if any(stem in words for stem in PROSE_LICENCE_STEMS) else ""
    return _wish_in(_of_head(text, body), body), licence


def _licence_in(words: str, text: str) -> str:
    """Return the first sign against derivatives whose subject is not something beside the model."""
    if PROSE_LICENCE.search(words) is None:
        return ""
    apart = _folded(_BLOCK.sub(" \x1e ", _unmarked(text)), _WORD_OR_END)
    found = list(PROSE_LICENCE.finditer(apart)) or list(PROSE_LICENCE.finditer(apart := words))
    return next((one[0] for one in found if not _is_of_parts(apart, one)), "")


def _is_of_parts(words: str, found: re.Match[str]) -> bool:
    """Say whether the words before a licence, in its sentence, name something beside the model, and not the model."""
    before = _SENTENCE.split(words[max(0, found.start() - _REACH) : found.start()])[-1]
    return OF_PARTS.search(before + found[0]) is not None and OF_THE_MODEL.search(before + found[0]) is None


def _of_head(text: str, body: str) -> str:
    """Return the lines of the head of a card that are sentences, a paragraph each."""
    lines = text.removesuffix(body).splitlines() if len(body) < len(text) else []
    return "\n\n".join(line for line in lines if line.count(" ") >= _FEWEST_WORDS)


def _wish_in(head: str, body: str) -> str:
    """Return what is a wish and nothing else, or quote the first sentence that sounds like one."""
    about, left = list[str](), _MOST_ABOUT_MERGING
    for sentence in filter(speaks_of_merging, dict.fromkeys((*sentences_of(head), *sentences_of(body)))):
        about.append(sentence)
        left -= len(sentence)
        if left < 0:
            return "more sentences about merging than are looked at"
    if bare := _bare_wish(_unmarked(body)):
        return bare
    likely = next(filter(may_be_wish, about), "")
    return likely and f'this may be a wish: "{likely[:_MOST_SHOWN]}"'


def sentences_of(text: str) -> list[str]:
    """Return the folded sentences of every paragraph, item and row; a question stays with its answer."""
    words = _folded(_BLOCK.sub(" \x1e ", _unmarked(text)), _WORD_OR_END)
    found, spaced = list[str](), words.isascii()
    for sentence in filter(None, map(str.strip, _SENTENCE.split(words))):
        is_short = sentence.count(" ") < _FEWEST_WORDS - 1 and (spaced or UNSPACED.search(sentence) is None)
        if is_short and found and len(found[-1]) < _MOST_SHOWN:
            found[-1] += f" ; {sentence}"
        else:
            found.append(sentence)
    return found


def _unmarked(text: str) -> str:
    plain = _MARKUP.sub(" ", _CHECK.sub(" yes ", _CROSS.sub(" no ", _BOX.sub(r"\1 yes ", text))))
    return html.unescape(plain).replace("%20", " ")  # as badges write a blank


def _bare_wish(text: str) -> str:
    """Return the first sentence, line or side of a colon that is a wish and nothing else."""
    for sentence in _SENTENCE_END.split(text):
        if "merg" not in sentence.casefold():
            continue
        row = folded(sentence)
        if BARE_NO.fullmatch(row) and not _YAML_LINE.fullmatch(sentence):
            return row
        for part in (row, *map(folded, _SIDES.split(sentence))):
            if BARE_WISH.fullmatch(part):
                return part
    return ""


def signs_in_head(head: Mapping[str, object]) -> tuple[str, str]:
    """Return where the head of a card asks not to be merged, and where it forbids derivatives; "" for nowhere."""
    wish = barred = ""
    for place, key, value in _entries(head, ""):
        if any(map(_OF_PARTS.fullmatch, map(folded, place.split(".")[:-1]))):
            continue
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


def signs_in_table(name: str, table: Mapping[str, object]) -> tuple[str, str]:
    """Return the same for a file that describes a model, at every level."""
    wish, barred = signs_in_head(table)
    return (f"{name}: {wish}" if wish else ""), (f"{name}, {barred}" if barred else "")


def is_wish_by_name(name: str) -> bool:
    """Say whether a text is called what a wish is, such as DO_NOT_MERGE.txt."""
    stem, _, end = name.rpartition(".")
    return not name.count("/") and end.lower() in ("txt", "md", name.lower()) and asks_not_to_merge(stem or end)


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
            if isinstance(item, dict) and _PARTS.match(str(item.get("path", item.get("files", "")))):
                continue
            if isinstance(item, dict):
                yield from _entries(item, f"{below}{key}.")
                answers = folded(str(key)).startswith("licen")
                todo += [said for name, said in item.items() if answers or folded(str(name)) in _ANSWERS]
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
    if barred and (
        any(map(_MERGES.fullmatch, map(folded, str(value).split(","))))
        or (_MERGES.fullmatch(words) and said not in _NO)
    ):
        return True
    says_so = _TABLE.match(place) or _FORBIDDEN.fullmatch(said)
    about = _ABOUT_MERGES.fullmatch(words) or (_BARE_MERGE.fullmatch(words) and says_so)
    if about and value is not None and _REFUSED.fullmatch(said):
        return True
    if words.startswith("licen") and _LICENCE_WISH.search(said):
        return True
    texts = value.split(",") if isinstance(value, str) and not _NAMES.fullmatch(words) else ()
    return any(map(asks_not_to_merge, texts))


def _is_bar(key: str, value: object) -> bool:
    words, said = folded(_CAPITAL.sub(" ", key)), "" if value is None else folded(str(value))
    if _ABOUT_DERIVATIVES.fullmatch(words) and value is not None and _REFUSED.fullmatch(said):
        return True
    if forbids_derivatives(key) and said not in _NO:
        return True
    spoken = words.startswith(("licen", "tag", "keyword", "spdx licen"))
    return spoken and isinstance(value, str | int | float) and forbids_derivatives(str(value))
