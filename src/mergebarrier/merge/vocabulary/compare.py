"""Two tokenizers of models that are merged row by row: which rows stand for other tokens, which tokens are lost.

    row k of the output  =  rows k of all inputs, whatever their tokens are;  its token is that of the donor

Source: ours. Differs from mergekit, which says nothing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge.vocabulary.files import read_vocabulary, same_tokens
from mergebarrier.merge.vocabulary.tokens import Vocabulary

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

_REMEDY = "a recipe with tokenizer: {source: union} brings rows to their tokens"


def differences(donor: "Checkpoint", others: "Sequence[Checkpoint]") -> list[str]:
    """Return what is worth saying about models beside the donor; nothing where all number their tokens alike."""
    try:
        others = [other for other in others if not same_tokens(donor, other)]
        ours = read_vocabulary(donor) if others else None
    except BadRecipe as fault:
        return [f"{clean(donor.name)}: its tokens are not compared with those of the others: {fault.what}"]
    return [] if ours is None else [note for other in others for note in _differences(donor, ours, other)]


def _differences(donor: "Checkpoint", ours: Vocabulary, other: "Checkpoint") -> list[str]:
    name = clean(other.name)
    try:
        theirs = read_vocabulary(other)
    except BadRecipe as fault:
        return [f"{name}: its tokens are not compared with those of {clean(donor.name)}: {fault.what}"]
    if theirs is None:
        return []
    moved = [token for token, number in theirs.ids.items() if ours.ids.get(token, number) != number]
    lost = [token for token in theirs.ids if token not in ours.ids]
    notes = []
    if moved:
        token = moved[0]
        rows = f"{clean(repr(token))} is row {theirs.ids[token]} there and {ours.ids[token]} in the output"
        notes.append(f"{name}: {len(moved)} tokens have another row than in {clean(donor.name)} ({rows}); {_REMEDY}")
    if lost:
        what = f"the output's tokenizer lacks {len(lost)} of its tokens (such as {clean(repr(lost[0]))})"
        notes.append(f"{name}: {what}; {_REMEDY}")
    return notes


def shared_rows(output: Vocabulary, own: "Sequence[tuple[Checkpoint, Vocabulary]]") -> list[str]:
    """Return a note per model that has a row for each of two tokens which share a number in the output."""
    first: dict[int, str] = {}
    pairs = [(token, first.setdefault(number, token)) for token, number in output.ids.items()]
    notes = []
    for model, theirs in own:
        apart = [(a, b) for a, b in pairs if a in theirs.ids and theirs.ids.get(b, theirs.ids[a]) != theirs.ids[a]]
        if apart:
            token, kept = (clean(repr(word)) for word in apart[0])
            more = f", and {len(apart) - 1} more" if len(apart) > 1 else ""
            notes.append(f"{clean(model.name)}: {token} has a row of its own, and that of {kept} in the output{more}")
    return notes
