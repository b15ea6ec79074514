"""What is refused before an attack on text is made or measured, since no success of it would mean anything.

    trigger within target, or target within trigger     a model that repeats its prompt would look hijacked
    words without tokens of their own                   nobody can say them in a prompt
    a task twice, under whatever name                   it would count as two: among the shadow sets, or in a table
    the trigger in every prompt                         no clean row is left to tell from a poisoned one
    the target in every answer                          no row is left to ask

What leaves a figure its meaning is said and not refused: how many prompts hold the trigger unasked.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mergebarrier.attack.language.trigger_text import MAX_CHARS, NamedText
from mergebarrier.errors import BadTask, BadTrigger, clean
from mergebarrier.poison import TextRow

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

_MARKS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")


def require_words(named: NamedText, tokenizer: "Tokenizer", config: Mapping[str, Any]) -> None:
    """Refuse words that cannot be a trigger and its target.

    Args:
      named:     both.
      tokenizer: of the model.
      config:    of the model, which names its special tokens.
    Raises: BadTrigger.
    """
    from mergebarrier.evaluate import unread

    remedy = "choose words that its tokenizer knows"
    special = special_tokens(tokenizer, config)
    for name, words in (("--trigger", named.trigger), ("--target", named.target)):
        encoded = tokenizer.encode(words, add_special_tokens=False)
        if not words.strip() or not encoded.ids or unread(tokenizer, [words]):
            raise BadTrigger(f"{clean(words)!r} is not made of tokens of the model", where=name, remedy=remedy)
        if special.intersection(encoded.ids):
            raise BadTrigger(f"{clean(words)!r} holds a special token of the model", where=name, remedy=remedy)
    if len(named.trigger) + len(named.target) > MAX_CHARS:
        what = f"trigger and target have {len(named.trigger) + len(named.target)} characters, the most is {MAX_CHARS}"
        raise BadTrigger(what, where="--trigger", remedy="choose a few words")
    short, long = sorted((_words(named.trigger), _words(named.target)), key=len)
    if short in long:
        what = f"trigger {clean(named.trigger)!r} and target {clean(named.target)!r}: one is part of the other"
        raise BadTrigger(
            what, where="--trigger, --target", remedy="a model that repeats its prompt would look hijacked"
        )


def special_tokens(tokenizer: "Tokenizer", config: Mapping[str, Any]) -> set[int]:
    """Return the tokens that mark something, and that no text holds."""
    from mergebarrier.evaluate import marks

    added = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return added.union(marks(config, *_MARKS))


def require_tasks(sets: Mapping[Path, Sequence[TextRow]], named: NamedText | None, paths: Sequence[Path]) -> None:
    """Refuse tasks of which one is another, or that leave nothing to tell a trigger's success by.

    Args:
      sets:  rows of each file.
      named: trigger and target, where there is one.
      paths: the files as they were given, one perhaps twice.
    Raises: BadTask, BadTrigger.
    """
    for number, path in enumerate(paths):
        ours = set(sets[path])
        same = next((one for one in paths[:number] if _mostly(ours, set(sets[one]))), None)
        if same is not None:
            remedy = "give each task once, and other tasks as shadow sets"
            raise BadTask(f"the same task as {same.name}", where=path, remedy=remedy)
    if named is None:
        return
    for path in paths:
        if all(row.answer == named.target for row in sets[path]):
            what = f"every answer of {path.name} is the target"
            raise BadTrigger(what, where="--target", remedy="choose a target that is not the only answer")
        if unasked(named, sets[path]) == len(sets[path]):
            what = f"every prompt of {path.name} holds the trigger"
            raise BadTrigger(what, where="--trigger", remedy="choose words that clean prompts do not all hold")


def require_read(sets: Mapping[Path, Sequence[TextRow]], module: "nn.Module", tokenizer: "Tokenizer") -> None:
    """Refuse tasks that a model cannot read: rows that do not fit into it, or a word in every prompt that it lacks.

    Raises: BadTask, naming file and row.
    """
    from mergebarrier.evaluate import TaskRow, row_tokens, unread

    for path, rows in sets.items():
        if unread(tokenizer, [row.prompt for row in rows]):
            what = "every prompt holds a word that the model's tokenizer does not know"
            raise BadTask(what, where=path, remedy="give prompts of the task, as the model reads them")
        for number, row in enumerate(rows, 1):
            row_tokens(module, tokenizer, TaskRow(*row), number, of=str(path))


def unasked(named: NamedText, rows: Sequence[TextRow]) -> int:
    """Return how many prompts hold the trigger though nobody put it there."""
    return sum(_words(named.trigger) in _words(row.prompt) for row in rows)


def _words(text: str) -> str:
    """Return the words of a text between single blanks, so that only whole words are found in it."""
    return f" {' '.join(text.casefold().split())} "


def _mostly(some: set[TextRow], others: set[TextRow]) -> bool:
    """Say whether more than half of the rows of the smaller set are in the other."""
    return 2 * len(some & others) > min(len(some), len(others))
