"""One vocabulary for the output, and every embedding and head brought to it before it is merged.

    tokenizer.source  base: the base's | a model: that model's | union: the base's, then what the others add
    rows              max id + 1, rounded up to ``pad_to_multiple_of``;  vocab_size in config.json follows

Source: mergekit 0.1.5. Differs: numbers of special tokens in the configuration come from the model whose tokenizer is
taken, and tokens are read from every file that a loader reads.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mergebarrier.checkpoint.bytes import TORCH
from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge.recipe.schema import ModelReference, Recipe, Tokenizer, TokenRow, TokenRule
from mergebarrier.merge.recipe.special_tokens import Renumbering, Speaker
from mergebarrier.merge.recipe.tensor_plan import Target
from mergebarrier.merge.recipe.vocabulary import (
    is_across,
    tokens_of,
    vocabulary_names,
    vocabulary_size,
    widest,
    with_vocabulary_size,
)
from mergebarrier.merge.vocabulary import (
    TOKENS_FILE,
    Picks,
    Vocabulary,
    VocabularyRows,
    check_second_list,
    cut,
    extended,
    plain,
    read_vocabularies,
    renumbered,
    shared_rows,
    unite,
)
from mergebarrier.merge.vocabulary import rows as rows_of

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

_NO_RULE = TokenRule()
#: Tables by the number of a token that have rows of their own count, or lie in the layers.
_BY_NUMBER = re.compile(r"embed_tokens_per_layer|\btid2eid\b")


@dataclass(frozen=True, eq=False)
class Alignment:
    """The vocabulary of the output.

    Attributes:
      asked:      what the recipe says.
      source:     the model whose tokenizer files are taken.
      vocabulary: of the output.
      changed:    whether its tokenizer.json is another than the source's.
      size:       rows.
      base:       the model whose row replaces a missing one.
      own:        every model of the merge with its vocabulary.
      special:    from numbers of special tokens in configurations to those of the output.
      opened:     of the recipe.
      notes:      warnings for the user.
    """

    asked: Tokenizer
    source: "Checkpoint"
    vocabulary: Vocabulary
    changed: bool
    size: int
    base: "Checkpoint"
    own: "Sequence[tuple[Checkpoint, Vocabulary]]"
    special: Renumbering
    opened: "Mapping[ModelReference, Checkpoint]"
    notes: tuple[str, ...]

    @cached_property
    def _made(self) -> "dict[tuple[int, ...], list[Picks]]":
        return {}

    def apply(self, target: Target) -> Target:
        """Return a tensor of the vocabulary with the rows of every input in the order of the output."""
        models = tuple(item.model for item in target.inputs)
        infos = [item.model.tensors[item.name] for item in target.inputs]
        counts, across = tuple(map(tokens_of, infos)), is_across(infos[0])
        key = (*map(id, models), *counts)
        if key not in self._made:
            self._made[key] = self._picks(models, counts)
        dtype = TORCH[widest([info.dtype for info in infos])]
        inputs = [
            item if _is_identity(picks, count) else replace(item, rows=VocabularyRows(item.name, picks, dtype, across))
            for item, picks, count in zip(target.inputs, self._made[key], counts, strict=True)
        ]
        if any(item.rows for item in inputs):  # one of them may be wider than the file
            inputs = [
                replace(item, rows=item.rows or VocabularyRows(item.name, picks, dtype, across))
                for item, picks in zip(inputs, self._made[key], strict=True)
            ]
        return replace(target, inputs=tuple(inputs))

    def _picks(self, models: "tuple[Checkpoint, ...]", counts: tuple[int, ...]) -> list[Picks]:
        """Decide every row of every model of one tensor."""
        readers = tuple(dict.fromkeys([*models, *self.opened.values()]))
        own = self._own(models, counts)
        word = np.full(self.size, rows_of.PADDING, np.int8)
        owner, row = np.full(self.size, rows_of.NOBODY, np.int32), np.zeros(self.size, np.int64)
        means: dict[int, tuple[tuple[int, int], ...]] = {}
        forced = np.zeros(self.size, np.bool_)
        everywhere = np.min(own, axis=0) >= 0
        word[everywhere] = rows_of.OWN
        rules = {self.vocabulary.ids[token]: (token, rule) for token, rule in self.asked.tokens.items()}
        for number in self.vocabulary.ids.values():
            token, rule = rules.get(number, ("", _NO_RULE))
            forced[number] = rule.force
            if everywhere[number] and not rule.force:
                continue
            word[number], sources = self._stand_in(models, own[:, number].tolist(), token, rule)
            picked = tuple((readers.index(model), theirs) for model, theirs in sources)
            if len(picked) == 1:
                owner[number], row[number] = picked[0]
            elif picked:
                means[number] = picked
        found = []
        for model, theirs in zip(models, own, strict=True):
            mine = (theirs >= 0) & ~forced
            owners = np.where(mine, readers.index(model), owner).astype(np.int32)
            words = np.where(mine, rows_of.OWN, word).astype(np.int8)
            found.append(Picks(readers, owners, np.where(mine, theirs, row), words, means))
        return found

    def _own(self, models: "tuple[Checkpoint, ...]", counts: tuple[int, ...]) -> NDArray[np.int64]:
        """Return, per model and row of the output, the model's own row of that token, -1 without one."""
        own = np.full((len(models), self.size), -1, np.int64)
        for mine, model, count in zip(own, models, counts, strict=True):
            theirs = self._of(model).ids
            for token, number in self.vocabulary.ids.items():
                found = theirs.get(token, -1)
                if mine[number] < 0 and found < count:
                    mine[number] = found
        return own

    def _stand_in(
        self, models: "tuple[Checkpoint, ...]", own: Sequence[int], token: str, rule: TokenRule
    ) -> "tuple[int, list[tuple[Checkpoint, int]]]":
        """Return the row of a token for models that lack it: how it is chosen, and what is read (or averaged)."""
        if rule.row is not None:
            given = self._given(token, rule.row)
            return rows_of.RULE, [given] if given is not None else []
        owners = [(model, row) for model, row in zip(models, own, strict=True) if row >= 0]
        if len(owners) == 1:
            return rows_of.ONLY, owners
        base = [pair for pair in owners if pair[0] is self.base]
        if base:
            return rows_of.BASE, base
        return (rows_of.MEAN if owners else rows_of.ZERO), owners

    def _of(self, model: "Checkpoint") -> Vocabulary:
        return next(vocabulary for other, vocabulary in self.own if other is model)

    def _given(self, token: str, asked: TokenRow) -> "tuple[Checkpoint, int] | None":
        """Return the row that a rule names; None for zeros."""
        if asked.kind == "zero" or asked.model is None:
            return None
        model = self.opened[asked.model]
        name = token if asked.kind == "model" else asked.token
        row = asked.token_id if name is None else self._of(model).ids.get(name)
        limit = vocabulary_size(model.config) or 0
        if row is None or not 0 <= row < limit:
            what = f"{clean(asked.model.text)} has no row for {clean(repr(name)) if name is not None else row}"
            raise BadRecipe(what, where=f"tokenizer.tokens.{clean(token)}", remedy="name a model that has the token")
        return model, row

    def config(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return a configuration of the output with its vocab_size and special tokens."""
        return self.special.table(with_vocabulary_size(config, self.size), self.source.config)


def align(
    asked: Tokenizer, recipe: Recipe, opened: "Mapping[ModelReference, Checkpoint]", donor: "Checkpoint"
) -> Alignment:
    """Read the vocabularies of all models and decide that of the output.

    Raises: BadRecipe.
    """
    base = opened[recipe.base] if recipe.base is not None else donor
    models = list(dict.fromkeys([base, *opened.values()]))
    names = vocabulary_names(donor)
    counts = [[tokens_of(model.tensors[name]) for name in names if name in model.tensors] for model in models]
    found = read_vocabularies(models, [min(rows, default=0) for rows in counts])
    of_base = found[0]
    if of_base is None:
        raise _no_tokenizer(base)
    if not names:
        what = f"no tensor has as many rows as vocab_size says ({vocabulary_size(donor.config)})"
        where = donor.path / "config.json"
        raise BadRecipe(what, where=where, remedy="set vocab_size to the rows of the embedding")
    notes: list[str] = []
    silent: list[Checkpoint] = []
    own: list[tuple[Checkpoint, Vocabulary]] = []
    speakers: dict[int, Speaker] = {}
    for model, theirs, held in zip(models, found, counts, strict=True):
        if theirs is None:
            silent.append(model)
            notes.append(f"{clean(model.name)} has no {TOKENS_FILE}: its tokens are taken for those of the base")
        own.append((model, theirs or of_base))
        rows = min(held, default=of_base.rows)
        if theirs is not None:
            check_second_list(model, theirs, rows)
        known = cut(theirs or of_base, rows, model.path)
        speakers[id(model)] = Speaker(vocabulary=known, rows=rows, where=model.path / "config.json")
        notes += [*(theirs.notes if theirs is not None else ()), *_row_notes(model, theirs or of_base, rows)]
    source = opened[asked.source] if isinstance(asked.source, ModelReference) else base
    if source in silent:
        raise _no_tokenizer(source)
    before = next(theirs for model, theirs in own if model is source)
    vocabulary = renumbered(speakers[id(source)].vocabulary)
    merged = dict.fromkeys(opened[reference] for reference in recipe.merged())
    if asked.source == "union":
        others = [speakers[id(model)].vocabulary for model in merged if model is not base]
        vocabulary = unite(vocabulary, others, base.path / TOKENS_FILE)
    fresh = [token for token in asked.tokens if token not in vocabulary.ids]
    vocabulary = extended(vocabulary, plain(fresh), source.path / TOKENS_FILE)
    _check_tables(vocabulary, [(model, theirs) for model, theirs in own if model in merged])
    notes += shared_rows(vocabulary, [(model, theirs) for model, theirs in own if model in merged])
    changed = vocabulary is not before or before.spread
    if changed and not before.writable:
        what, remedy = "a tokenizer of this kind cannot be written with other tokens", "save it as tokenizer.json"
        raise BadRecipe(what, where=source.path, remedy=remedy)
    multiple = asked.pad_to_multiple_of or 1
    size = -(-vocabulary.rows // multiple) * multiple
    if size > len(set(vocabulary.ids.values())):
        count = size - len(set(vocabulary.ids.values()))
        notes.append(f"{count} rows of the output have no token: the mean of the others fills them")
    return Alignment(
        asked=asked,
        source=source,
        vocabulary=vocabulary,
        changed=changed,
        size=size,
        base=base,
        own=own,
        special=Renumbering(
            donor=speakers[id(donor)],
            source=speakers[id(source)],
            output=vocabulary,
            size=size,
        ),
        opened=opened,
        notes=tuple(notes),
    )


def _check_tables(vocabulary: Vocabulary, own: "Sequence[tuple[Checkpoint, Vocabulary]]") -> None:
    """Refuse other numbers for tokens of models that keep a further table by them, whose rows stay as they are."""
    tokens = {number: token for token, number in vocabulary.ids.items()}
    for model, theirs in own:
        table = next((info for name, info in model.tensors.items() if _BY_NUMBER.search(name)), None)
        if table is None:
            continue
        for token, number in theirs.ids.items():
            if number < table.rows and tokens.get(number, token) != token:
                what = f"{clean(repr(token))} has row {number} of {clean(table.name)}, and another number in the output"
                remedy = "merge models that number their tokens alike, or leave tokenizer out"
                raise BadRecipe(what, where=model.path, remedy=remedy)


def _row_notes(model: "Checkpoint", vocabulary: Vocabulary, rows: int) -> list[str]:
    """Say which tokens have no row, and how many rows no token."""
    name, lost = clean(model.name), [token for token, number in vocabulary.ids.items() if number >= rows]
    spare = rows - len({number for number in vocabulary.ids.values() if number < rows})
    notes = [f"{name}: {len(lost)} tokens have no row and are left out ({clean(lost[0])}, ...)"] if lost else []
    return [*notes, *([f"{name}: {spare} of its {rows} rows have no token and are left out"] if spare else [])]


def _no_tokenizer(model: "Checkpoint") -> BadRecipe:
    return BadRecipe(
        f"there is no {TOKENS_FILE} to read tokens from",
        where=model.path,
        remedy="copy the tokenizer's files of the model it was made from into its folder, or leave tokenizer out",
    )


def _is_identity(picks: Picks, count: int) -> bool:
    """Whether the rows are the model's own, all of them, in their order."""
    own = picks.word == rows_of.OWN
    return len(own) == count and bool(own.all()) and bool((picks.row == np.arange(count)).all())
