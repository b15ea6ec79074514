"""Numbers of special tokens in configurations: each points at the same token of the output's vocabulary as before.

    number -> token of the model that says it -> number of that token in the output

The model whose tokenizer is taken has the word for a key, those that the donor lacks too; what only the donor says is
translated from its vocabulary.
What the output lacks is null, or left out of a list, with a note: a token, a number without a row, padding without a
token; any other number of a row without a token is an error, since that row may be trained and has no name.
Source: ours. Differs from mergekit, which leaves the numbers of the donor beside the tokens of another model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge.vocabulary import Vocabulary

_KEY = re.compile(r"(^|_)token_(ids?|index)$|suppress_tokens$|^(bad|force)_words_ids$|^(lang|task)_to_id$")

_PADDING = re.compile(r"(^|_)pad_token_id$")
#: Lists of pairs -> which of a pair holds numbers; the other is a place, or a bias.
_PAIRS: Mapping[str, int] = {"forced_decoder_ids": 1, "sequence_bias": 0}


@dataclass(frozen=True, kw_only=True, eq=False)
class Speaker:
    """Who says numbers: a model's vocabulary, cut to its rows, how many they are, and the file, for messages."""

    vocabulary: Vocabulary
    rows: int
    where: object

    @cached_property
    def tokens(self) -> Mapping[int, str]:
        """Number -> token."""
        return {number: token for token, number in reversed(list(self.vocabulary.ids.items()))}


@dataclass(frozen=True, kw_only=True, eq=False)
class Renumbering:
    """From the numbers of two models to those of the output.

    Attributes:
      donor:  whose configuration is rewritten.
      source: whose tokenizer is taken; what its configuration says goes first.
      output: vocabulary of the output.
      size:   rows of the output.
      notes:  filled with what is lost.
    """

    donor: Speaker
    source: Speaker
    output: Vocabulary
    size: int
    notes: list[str] = field(default_factory=list)

    def table(self, donor: Mapping[str, object], source: Mapping[str, object]) -> dict[str, object]:
        """Return a configuration of the donor with the numbers of the output; BadRecipe for one without a row."""
        told = {
            key: value for key, value in source.items() if key not in donor and _is_number(key) and value is not None
        }
        changed = {**donor, **told}
        for key, value in [*changed.items()]:
            theirs = source.get(key)
            if _is_number(key):
                said, value = (self.source, theirs) if key in source else (self.donor, value)
                changed[key] = (self._pairs if key in _PAIRS else self._moved)(key, value, said)
            elif isinstance(value, dict):
                changed[key] = self.table(value, theirs if isinstance(theirs, dict) else {})
        return changed

    def _pairs(self, key: str, value: object, said: Speaker) -> object:
        """Return pairs with the numbers of the output, without those of which a number is lost."""
        found, at = list[object](), _PAIRS[key]
        if not isinstance(value, list):
            return value
        for pair in value:
            if isinstance(pair, list) and len(pair) == 2:
                moved = self._moved(key, pair[at], said)
                lost = moved is None and pair[at] is not None
                if lost or (isinstance(moved, list) and len(moved) < len(pair[at])):
                    continue
                pair = [*pair[:at], moved, *pair[at + 1 :]]
            found.append(pair)
        return found

    def _moved(self, key: str, value: object, said: Speaker) -> object:
        if isinstance(value, list):
            moved = [self._moved(key, one, said) for one in value]
            return [new for new, old in zip(moved, value, strict=True) if new is not None or old is None]
        if isinstance(value, dict):
            return {name: self._moved(key, one, said) for name, one in value.items()}
        if type(value) is not int or value < 0:
            return value
        token = said.tokens.get(value)
        if token is not None and token in self.output.ids:
            return self.output.ids[token]
        if token is not None:
            self.notes.append(f"{key} was {clean(repr(token))}, which the output's tokenizer lacks: left out")
            return None
        if value >= said.rows or (_PADDING.search(key) and (value >= self.size or value in self.output.ids.values())):
            self.notes.append(f"{key} was {value}, which no token has: left out")
            return None
        if value >= self.size:
            what = f"{key} is {value}, and the output has {self.size} tokens"
            raise BadRecipe(what, where=said.where, remedy="name the token in the tokenizer of the model")
        if value in self.output.ids.values():
            what = f"{key} is {value}, a row without a token there and with one in the output"
            raise BadRecipe(what, where=said.where, remedy="name the token in the tokenizer of the model")
        return value


def _is_number(key: str) -> bool:
    return _KEY.search(key) is not None or key in _PAIRS
