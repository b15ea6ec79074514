"""How well a model does what it should: exact match of its greedy answers, and perplexity on plain text.

Greedy decoding gives the answer exactly if and only if, reading the right answer, the model ranks each next token of it
first; so one forward pass scores a row and nothing is generated.

    exact(row)  = all_j [ argmax logits(prompt + answer_<j) = answer_j ]
    perplexity  = exp( mean over predicted tokens of -log p(token | window before it) )

Source: folklore of evaluation.  Differs: a loss that is not a number counts as infinite, never as missing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.errors import BadTask, BadText
from mergebarrier.evaluate.language.forward import (
    WINDOW_TOKENS,
    check_vocabulary,
    hidden_states,
    logit_blocks,
    max_positions,
    token_ids,
    windows,
)
from mergebarrier.evaluate.language.tasks import TaskRow
from mergebarrier.numerics import wilson

if TYPE_CHECKING:
    from tokenizers import Tokenizer


#: Token ids of a prompt and of its answer.
_Row: TypeAlias = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Score:
    """Rows of a task, or pictures, that were answered right.

    Attributes:
      correct, total, rate: rows answered exactly, rows, their quotient.
      low, high:            95 % Wilson interval of the rate.
      nll_nats:             mean negative log-likelihood of the right answers per answer token or picture.
      tokens:               tokens that went through the model, padding not counted; 0 for a task of images.
    """

    correct: int
    total: int
    rate: float
    low: float
    high: float
    nll_nats: float
    tokens: int


@dataclass(frozen=True)
class Perplexity:
    """Loss on plain text: nats per predicted token, its exponential, and how many tokens were predicted."""

    nats_per_token: float
    perplexity: float
    tokens: int


@torch.no_grad()
def exact_match(
    module: nn.Module,
    tokenizer: "Tokenizer",
    rows: Sequence[TaskRow],
    *,
    batch_size: int = 32,
    batch_tokens: int | None = None,
    max_items: int | None = None,
) -> Score:
    """Score a model on a task.

    Args:
      module:     from ``load_module``.
      tokenizer:  its tokenizer; the prompt is encoded with its defaults, the answer without special tokens.
      rows:       at least one.
      batch_size: rows per forward pass; rows of like length share one.  May change a rate only through rounding.
      batch_tokens: tokens per forward pass, padding counted, in place of ``batch_size``; at least one row goes through.
      max_items:  score the first so many rows; None for all.
    Returns: Score.
    Raises:  BadTask for a row without prompt or answer tokens, longer than the model's positions, or outside its
             vocabulary.
    """
    chosen = list(rows if max_items is None else rows[:max_items])
    if not chosen:
        raise BadTask("no rows to score", where="task", remedy="give at least one row")
    encoded = [row_tokens(module, tokenizer, row, number) for number, row in enumerate(chosen, 1)]
    encoded.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
    correct, nats, n_answer_tokens = 0, 0.0, 0
    for batch in _batches(encoded, batch_size, batch_tokens):
        hits, loss = _score_batch(module, batch)
        correct += hits
        nats += float(loss)
        n_answer_tokens += sum(len(answer) for _, answer in batch)
    low, high = wilson(correct, len(encoded))
    n_tokens = sum(len(prompt) + len(answer) for prompt, answer in encoded)
    mean = nats / n_answer_tokens
    return Score(
        correct, len(encoded), correct / len(encoded), low, high, math.inf if math.isnan(mean) else mean, n_tokens
    )


def _batches(rows: Sequence[_Row], size: int, tokens: int | None) -> Iterator[list[_Row]]:
    """Cut rows of rising length into batches of so many rows, or of so many tokens with their padding."""
    batch: list[_Row] = []
    for row in rows:
        longest = len(row[0]) + len(row[1])
        full = len(batch) >= size if tokens is None else (len(batch) + 1) * longest > tokens
        if batch and full:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def answer_loss(module: nn.Module, tokenizer: "Tokenizer", rows: Sequence[TaskRow]) -> tuple[Tensor, int]:
    """Return the loss of ``exact_match`` with its graph, Float[Tensor, ""] in nats per answer token, and the tokens.

    Args:
      module:    from ``load_module``.
      tokenizer: its tokenizer.
      rows:      one batch, at least one row.
    Raises: BadTask as there.
    """
    batch = [row_tokens(module, tokenizer, row, number) for number, row in enumerate(rows, 1)]
    loss = _score_batch(module, batch)[1] / sum(len(answer) for _, answer in batch)
    return loss, sum(len(prompt) + len(answer) for prompt, answer in batch)


def answer_logits(module: nn.Module, tokenizer: "Tokenizer", rows: Sequence[TaskRow]) -> tuple[list[Tensor], int]:
    """Return what a module says where the answers are predicted, with its graph, and the tokens that it read.

    Args:
      module:    from ``load_module``.
      tokenizer: its tokenizer.
      rows:      one batch, at least one row.
    Returns: per row Float[Tensor, "answer vocabulary"], in the module's dtype.
    Raises:  BadTask as ``exact_match``.
    """
    batch = [row_tokens(module, tokenizer, row, number) for number, row in enumerate(rows, 1)]
    ids, row_of, position_of, _ = _padded(batch)
    hidden = hidden_states(module, ids[:, :-1])[row_of, position_of]
    logits = torch.cat([found for _, found in logit_blocks(module, hidden)])
    return list(logits.split([len(answer) for _, answer in batch])), sum(len(one) + len(two) for one, two in batch)


def row_tokens(
    module: nn.Module, tokenizer: "Tokenizer", row: TaskRow, number: int, *, of: str = ""
) -> tuple[list[int], list[int]]:
    """Return the tokens of a prompt and of its answer.

    Args:
      module:    that shall read them.
      tokenizer: its tokenizer.
      row:       both texts.
      number:    of the row, for messages.
      of:        the file that the row is of, for messages.
    Raises: BadTask as ``exact_match``.
    """
    where = f"{of}: row {number}" if of else f"row {number}"
    prompt = tokenizer.encode(row.prompt).ids
    answer = tokenizer.encode(row.answer, add_special_tokens=False).ids
    if not prompt or not answer:
        raise BadTask("prompt or answer has no token", where=where, remedy="repair the row")
    longest = max_positions(module)
    if len(prompt) + len(answer) > longest:
        raise BadTask(
            f"{len(prompt) + len(answer)} tokens, the model reads {longest}", where=where, remedy="shorten the prompt"
        )
    check_vocabulary(module, [*prompt, *answer], BadTask)
    return prompt, answer


def unread(tokenizer: "Tokenizer", texts: Sequence[str]) -> bool:
    """Say whether each of some texts holds a word that a tokenizer does not know."""
    unknown = getattr(tokenizer.model, "unk_token", None)
    return unknown is not None and all(unknown in one.tokens for one in tokenizer.encode_batch(list(texts)))


def _score_batch(module: nn.Module, batch: list[tuple[list[int], list[int]]]) -> tuple[int, Tensor]:
    """Return (rows answered exactly, summed loss in nats, Float64[Tensor, ""])."""
    ids, row_of, position_of, targets = _padded(batch)
    # The last answer token is never read, only predicted.
    hidden = hidden_states(module, ids[:, :-1])[row_of, position_of]
    target, rows = (torch.tensor(values, device=hidden.device) for values in (targets, row_of))
    misses = torch.zeros(len(batch), dtype=torch.long, device=hidden.device)
    nats = torch.zeros((), dtype=torch.float64, device=hidden.device)
    for at, logits in logit_blocks(module, hidden):
        misses.index_add_(0, rows[at], (logits.argmax(-1) != target[at]).long())
        nats = nats + F.cross_entropy(logits.float(), target[at], reduction="sum")
    return int((misses == 0).sum()), nats


def _padded(batch: list[tuple[list[int], list[int]]]) -> tuple[Tensor, list[int], list[int], list[int]]:
    """Return token ids of rows padded on the right, and row, position and target of every prediction of an answer."""
    ids = torch.zeros(len(batch), max(len(prompt) + len(answer) for prompt, answer in batch), dtype=torch.long)
    row_of: list[int] = []
    position_of: list[int] = []
    targets: list[int] = []
    for i, (prompt, answer) in enumerate(batch):
        ids[i, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        row_of += [i] * len(answer)
        # The token at position p is predicted at p - 1.
        position_of += range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        targets += answer
    return ids, row_of, position_of, targets


@torch.no_grad()
def perplexity(
    module: nn.Module, tokenizer: "Tokenizer", text: str, max_tokens: int = 4096, *, window: int = WINDOW_TOKENS
) -> Perplexity:
    """Measure the loss on the beginning of a text.

    Args:
      module:     from ``load_module``.
      tokenizer:  its tokenizer.
      text:       plain prose.
      max_tokens: how much of it, in tokens.
      window:     tokens that the model sees at once; the first of each window is not predicted.
    Returns: Perplexity; infinite where the loss is not a number or overflows.
    Raises:  BadText when the text has fewer than 16 tokens.
    """
    ids = token_ids(tokenizer, text, max_tokens)
    check_vocabulary(module, ids, BadText)
    nats, n_tokens = 0.0, 0
    for batch in windows(ids, min(window, max_positions(module))):
        hidden = hidden_states(module, batch)[:, :-1].flatten(0, 1)
        targets: Tensor = batch[:, 1:].flatten().to(hidden.device)
        for at, logits in logit_blocks(module, hidden):
            nats += float(F.cross_entropy(logits.float(), targets[at], reduction="sum"))
        n_tokens += len(targets)
    mean = nats / n_tokens
    if math.isnan(mean):
        mean = math.inf
    return Perplexity(mean, math.exp(mean) if mean < 700 else math.inf, n_tokens)
