"""Batches of a language model for methods that learn without labels: prompts of a task, or windows of plain text.

Rows are never padded, so whatever is counted or averaged over tokens counts real ones: a batch is a tuple of tensors,
each of rows of one length.

    prompts: the logits behind the last token of each row;   text: the logits behind every token but the last
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mergebarrier.errors import BadTask, BadText
from mergebarrier.evaluate.language.forward import check_vocabulary, hidden_states, logits_of, max_positions
from mergebarrier.evaluate.language.tasks import TaskRow

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Batch = tuple[Tensor, ...]
WINDOW_TOKENS = 32
_CHARS_PER_TOKEN = 32  # at most, so that a window is always found in as much text
_USUAL_CHARS_PER_TOKEN = 5


@dataclass(frozen=True)
class TokenRows:
    """Rows of token ids, and whether every position of them is a prediction or the last one only."""

    ids: tuple[tuple[int, ...], ...]
    every_position: bool

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return sum(map(len, self.ids))

    def chosen(self, order: Sequence[int]) -> "TokenRows":
        """Return the rows at ``order``, in that order."""
        return TokenRows(tuple(self.ids[i] for i in order), self.every_position)

    def mixed(self, size: int) -> list[Batch]:
        """Cut into batches of ``size`` rows (the last may be smaller), each as one tensor per length."""
        return [_by_length(self.ids[start : start + size]) for start in range(0, len(self.ids), size)]

    def even(self, size: int) -> list[Batch]:
        """Cut into batches of up to ``size`` rows of one length, so that a batch runs through the model once."""
        return [(part,) for tensor in _by_length(self.ids) for part in tensor.split(size)]

    def logits(self, module: nn.Module, batch: Batch) -> Tensor:
        """Run a batch: Float[Tensor, "predictions vocabulary"]."""
        wanted = []
        for ids in batch:
            hidden = hidden_states(module, ids)
            wanted.append(hidden[:, :-1].flatten(0, 1) if self.every_position else hidden[:, -1])
        return logits_of(module, torch.cat(wanted))


def prompt_rows(module: nn.Module, tokenizer: "Tokenizer", rows: Sequence[TaskRow]) -> TokenRows:
    """Tokenise the prompts of a task; the answers are not looked at.

    Raises: BadTask, naming the row: no token, too many, or outside the vocabulary.
    """
    kept: list[tuple[int, ...]] = []
    longest = max_positions(module)
    for number, row in enumerate(rows, 1):
        ids = tokenizer.encode(row.prompt).ids
        if not 0 < len(ids) <= longest:
            raise BadTask(
                f"{len(ids)} tokens, the model reads 1 to {longest}",
                where=f"row {number}",
                remedy="shorten or complete the row",
            )
        check_vocabulary(module, ids, BadTask)
        kept.append(tuple(ids))
    return TokenRows(tuple(kept), every_position=False)


def text_rows(module: nn.Module, tokenizer: "Tokenizer", text: str, n_rows: int) -> TokenRows:
    """Cut windows of 32 tokens out of a text, spread evenly over it and not overlapping; fewer when it is short.

    Raises: BadText without a single window.
    """
    length = min(WINDOW_TOKENS, max_positions(module))
    stride = max(len(text) // n_rows, length * _USUAL_CHARS_PER_TOKEN)
    kept: list[tuple[int, ...]] = []
    for start in range(0, len(text), stride):
        # The first piece may begin inside a word; the next one is whole.
        ids = tokenizer.encode(text[start : start + (length + 1) * _CHARS_PER_TOKEN], add_special_tokens=False).ids
        ids = ids[min(start, 1) :][:length]
        if len(ids) == length and len(kept) < n_rows:
            check_vocabulary(module, ids, BadText)
            kept.append(tuple(ids))
    if not kept:
        raise BadText(f"the text has fewer than {length} tokens", where="text", remedy="give a longer text")
    return TokenRows(tuple(kept), every_position=True)


def _by_length(rows: Sequence[tuple[int, ...]]) -> Batch:
    lengths = sorted({len(row) for row in rows})
    return tuple(torch.tensor([row for row in rows if len(row) == length]) for length in lengths)
