"""One way through a model: token ids to hidden states, and those to logits for the positions that are asked for.

The head of a language model may be a third of it, and its output in float32 is larger still; so it is applied to the
positions that matter only, 128 at a time.

    logits[i] = head(hidden[i]),   hidden = body(ids)

Rows of unequal length are padded on the right; under a causal mask no real token sees the padding, so no attention mask
is needed and short rows cost no accuracy.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mergebarrier.errors import BadTask, BadText

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HEAD_ROWS = 128
MAX_CHARS_PER_TOKEN = 32
MIN_TOKENS = 16


def token_ids(tokenizer: "Tokenizer", text: str, max_tokens: int) -> Tensor:
    """Tokenise the beginning of a text.

    Args:
      tokenizer:  from ``load_tokenizer``.
      text:       any length; only about as much as is needed is looked at.
      max_tokens: upper bound on the result, at least 16.
    Returns: Int64[Tensor, "n"], 16 <= n <= max_tokens.
    Raises:  BadText when there are fewer than 16 tokens.
    """
    ids = tokenizer.encode(text[: max_tokens * MAX_CHARS_PER_TOKEN]).ids[:max_tokens]
    if len(ids) < MIN_TOKENS:
        raise BadText(f"{len(ids)} tokens, at least {MIN_TOKENS} are needed", where="text", remedy="give a longer text")
    return torch.tensor(ids)


def windows(ids: Tensor, length: int) -> list[Tensor]:
    """Cut a text into batches of windows that a model reads one by one: each Int64[Tensor, "batch length"].

    The last window may be shorter and comes alone; one of a single token predicts nothing and is dropped.
    """
    n_whole = len(ids) // length
    batches = list(ids[: n_whole * length].view(n_whole, length).split(4)) if n_whole else []
    rest = ids[n_whole * length :]
    return [*batches, rest[None]] if len(rest) > 1 else batches


def hidden_states(module: nn.Module, ids: Tensor) -> Tensor:
    """Run the body of a model: Int64[Tensor, "batch length"] to Float[Tensor, "batch length hidden"]."""
    body: Any = module.base_model
    states: Tensor = body(input_ids=ids, use_cache=False).last_hidden_state
    return states


def logit_blocks(module: nn.Module, hidden: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, logits) for Float[Tensor, "n hidden"], 128 rows at a time, in the module's dtype."""
    head: Any = module
    apply = head.get_output_embeddings()
    for start in range(0, len(hidden), HEAD_ROWS):
        rows = slice(start, min(start + HEAD_ROWS, len(hidden)))
        yield rows, apply(hidden[rows])


def max_positions(module: nn.Module) -> int:
    """Longest sequence that the module was made for."""
    config: Any = module.config
    return int(config.max_position_embeddings)


def check_vocabulary(module: nn.Module, ids: Sequence[int] | Tensor, fault: type[BadTask] | type[BadText]) -> None:
    """Raise when a token id is outside the embedding, which means that the tokenizer belongs to another model."""
    config: Any = module.config
    highest = int(max(ids)) if len(ids) else 0
    if highest >= config.vocab_size:
        raise fault(
            f"token id {highest}, the model has {config.vocab_size}",
            where="tokenizer.json",
            remedy="use the tokenizer that belongs to these weights",
        )
