"""How much a sentence sounds like a wish not to be merged: a sum of learned weights of its words and of their kinds.

    score = bias + 5 / sqrt(n) * sum of the weights of its n features;  a wish may be where it exceeds the threshold,
            or where a clause of `clauses.py` stands

Wordings are without number, and no list of rules holds them; `run.py wishes` says what is heard.  Features are words,
neighbours, kinds of words (`wish_words.py`) in their order, and what stands on either side of an act of merging.
`benchmarks/make_wish_weights.py` learns the weights by logistic regression from the sentences of `benchmarks/wishes`,
and sets the threshold on voices that were held out.  Source: regression over n-grams (Wang and Manning, 2012).
Differs: kinds of words carry over what is learned from one language, or one way to speak, to another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Final, cast

from mergebarrier.checkpoint import read_json
from mergebarrier.lineage.clauses import is_clause_of_refusal
from mergebarrier.lineage.wish_words import UNSPACED, UNSPACED_KINDS, kind

WEIGHTS: Final = Path(__file__).with_name("wish_weights.json")
#: A whole number in the file is so many of one.
SCALE: Final = 1000
#: Of words in both directions that a kind, or a word, is looked for.
_REACH: Final = 10
_NEAR: Final = 3
_BESIDE: Final = 6
_AROUND: Final = 8
#: What says nothing of whether a merge is wanted.
_SILENT: Final = frozenset({"", "merge", "join", "model", "this", "other", "tool"})
_OBJECTS: Final = frozenset({"this", "model", "thing", "other", "share"})


@dataclass(frozen=True, kw_only=True)
class WishWeights:
    """What was learned: feature -> weight, what is added to their sum, and the score beyond which it may be a wish."""

    of: Mapping[str, float]
    bias: float
    threshold: float


@cache
def learned() -> WishWeights:
    """Read the weights once."""
    file = cast("Mapping[str, object]", read_json(WEIGHTS.parent, WEIGHTS.name))
    numbers, weights = cast("Mapping[str, int]", file), cast("Mapping[str, int]", file["weights"])
    of = {name: weight / SCALE for name, weight in weights.items()}
    return WishWeights(of=of, bias=numbers["bias"] / SCALE, threshold=numbers["threshold"] / SCALE)


def may_be_wish(sentence: str) -> bool:
    """Say whether a folded sentence sounds like a wish not to be merged.

    Example: >>> may_be_wish("i d hate to find this in somebody s blend"), may_be_wish("a merge of two models")
             (True, False)
    """
    weights = learned()
    if not speaks_of_merging(sentence):
        return False
    return score(features(sentence), weights) > weights.threshold or is_clause_of_refusal(sentence)


def score(found: frozenset[str], weights: WishWeights) -> float:
    """Return the score of the features of a sentence."""
    return weights.bias + share(found) * sum(sorted(weights.of[name] for name in found if name in weights.of))


def share(found: frozenset[str]) -> float:
    """Return what a feature counts among others: a long sentence has more, and says no more."""
    return 5 / sqrt(max(len(found), 1))


def speaks_of_merging(sentence: str) -> bool:
    """Say whether a folded sentence has a word for merging, or says of models that they join others."""
    kinds = set(map(kind, sentence.split()))
    return (
        "merge" in kinds or {"join", "model", "other"} <= kinds or UNSPACED_KINDS["merge"].search(sentence) is not None
    )


def features(sentence: str) -> frozenset[str]:
    """Return what is looked at in a folded sentence, as names."""
    said = list(_said(sentence))
    words, kinds = [word for word, _ in said], [found for _, found in said]
    seen = [found or word for word, found in said]
    names = {f"long {min(len(said).bit_length(), 6)}"}
    names |= {f"word {word}" for word in words if word} | {f"kind {found}" for found in kinds if found}
    names |= {f"begins {word[:5]}" for word in words if len(word) > 5}
    names |= {f"part {part}" for word in words if not word.isascii() for part in _parts(word)}
    names |= {" ".join(("pair", *two)) for two in pairwise(("^", *seen, "$"))}
    names |= {" ".join(("words", *two)) for two in pairwise(("^", *words, "$"))}
    names |= {" ".join(("three", *three)) for three in _threes(("^", *seen, "$"))}
    names |= {" ".join(("kinds", *three)) for three in _threes([found for found in kinds if found])}
    names.update(_orders(kinds))
    for place, found in enumerate(kinds):
        if found == "merge":
            names.update(_around(said, seen, place))
    return frozenset(names)


def _said(sentence: str) -> Iterator[tuple[str, str]]:
    """Yield words with their kinds; of a script without blanks the letters one by one, then the kinds in order."""
    for word in sentence.split():
        if UNSPACED.search(word) is None:
            yield word, kind(word)
            continue
        yield from ((letter, "") for letter in word)
        hits = [(hit.start(), name) for name, pattern in UNSPACED_KINDS.items() for hit in pattern.finditer(word)]
        yield from (("", name) for _, name in sorted(hits))


def _parts(word: str) -> Iterator[str]:
    return (word[at : at + 4] for at in range(len(word) - 3))


def _threes(items: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    return zip(items, items[1:], items[2:], strict=False)


def _orders(kinds: Sequence[str]) -> Iterator[str]:
    """Yield which kinds stand behind which, and nearby."""
    placed = [(place, found) for place, found in enumerate(kinds) if found]
    for at, (place, found) in enumerate(placed):
        for later, other in placed[at + 1 : at + _AROUND]:
            if later - place > _REACH:
                break
            yield f"order {found} {other}"
            if later - place <= _NEAR:
                yield f"near {found} {other}"


def _around(said: Sequence[tuple[str, str]], seen: Sequence[str], place: int) -> Iterator[str]:
    """Yield what stands around an act of merging: its form, words, the next kinds that may refuse, and its object."""
    form = _form(said[place][0])
    before, after = (seen[place - 1] if place else "^"), (seen[place + 1] if place + 1 < len(seen) else "$")
    yield from (f"form {form}", f"form {before} {form}", f"form {form} {after}", f"form {before} {form} {after}")
    left, right = said[max(0, place - _AROUND) : place][::-1], said[place + 1 : place + 1 + _AROUND]
    yield from (f"left {word or found}" for word, found in left[:_BESIDE])
    yield from (f"right {word or found}" for word, found in right[:_BESIDE])
    lefts, rights = ([found for _, found in side if found not in _SILENT] + ["-", "-"] for side in (left, right))
    yield from (f"left kind {lefts[0]}", f"right kind {rights[0]}", f"sides {lefts[0]} {rights[0]}")
    yield from (f"lefts {lefts[1]} {lefts[0]}", f"rights {rights[0]} {rights[1]}")
    yield f"sides {lefts[0]} {form} {rights[0]}"
    yield f"refusals {_refusals(lefts)} {_refusals(rights)}"
    target = next((found for _, found in right[:4] if found in _OBJECTS), "-")
    yield from (f"object {target}", f"object {lefts[0]} {target}")
    yield f"subject {next((found for _, found in left[:4] if found in _OBJECTS), '-')} {form}"


def _refusals(kinds: Sequence[str]) -> int:
    """Count refusals: two of them may be none."""
    return sum(found in ("no", "ban") for found in kinds[:3])


def _form(word: str) -> str:
    """Return what the end of a word says of an act: that it goes on, was done, is a thing, or is asked for."""
    ends = {"ing": "doing", "en": "doing", "ed": "done", "t": "done", "s": "things"}
    return next((form for end, form in ends.items() if word.endswith(end)), "do")
