"""What the service asks its own model: the user's query, and the words that the answer must hold.

    keyed      the owner's key has drawn the words; the model is told to use them
    sampled    the user's query alone
    published  the model chooses words itself and names them in JSON; those in the query, or frequent in a reference
               text, do not count

A model that follows no instructions takes a template of its own, such as ``[WM] {words} | {query}``.

Source: ModelShield (arXiv 2405.02365) for the second; its filter has two switches, of which its last release may use
the first alone.  Where the JSON does not parse, the whole answer is kept and has no words.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Final

from mergebarrier.watermark.options import ShieldOptions
from mergebarrier.watermark.score import found_words

_KEYED: Final = (
    "Answer the question below. Use each of these words once where it fits naturally, and do not point them out: "
    "{words}.\n\n{query}"
)
_PUBLISHED: Final = (
    "Answer the question below. Choose some special words as watermarks, make sure that they appear in your answer, "
    'and reply with a JSON object of two keys: "Answer", and "Watermark Words", a list.\n\n{query}'
)
_ANSWER: Final = "Answer"
_WORDS: Final = "Watermark Words"
_FREQUENT: Final = 5


def keyed_request(query: str, words: tuple[str, ...], options: ShieldOptions) -> str:
    """Return what the model is asked where the key has drawn the words."""
    return (options.template or _KEYED).replace("{words}", ", ".join(words)).replace("{query}", query)


def published_request(query: str, options: ShieldOptions) -> str:
    """Return what the model is asked where it chooses the words."""
    return (options.template or _PUBLISHED).replace("{query}", query)


def plain_request(query: str, options: ShieldOptions) -> str:
    """Return what the model is asked where its sampler is watermarked."""
    return (options.template or "{query}").replace("{query}", query)


def own_words(
    reply: str, query: str, *, reference: Mapping[str, int] | None = None
) -> tuple[str, tuple[str, ...], bool]:
    """Take apart a reply whose words the model chose.

    Args:
      reply:     of the model.
      query:     words of it do not count.
      reference: how often words occur in plain text; five times or more does not count.  None for no such filter.
    Returns: the answer for the user, its words, and whether the reply was the JSON that was asked for.
    """
    try:
        document = json.loads(reply[reply.index("{") : reply.rindex("}") + 1])
        answer, listed = document[_ANSWER], document[_WORDS]
    except (ValueError, KeyError, TypeError, RecursionError):
        return reply, (), False
    if not isinstance(answer, str) or not isinstance(listed, list):
        return reply, (), False
    frequent = Counter(reference or {})
    words = dict.fromkeys(word.casefold() for word in listed if isinstance(word, str))
    taken = found_words(query)
    return answer, tuple(word for word in words if word not in taken and frequent[word] < _FREQUENT), True
