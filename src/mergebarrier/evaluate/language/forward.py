"""One way through a model: token ids to hidden states, and those to logits for the positions that are asked for.

The head of a language model may be a third of it, and its output in float32 is larger still; so it is applied to the
positions that matter only, 128 at a time.

    logits[i] = tail(hidden[i]),   hidden = body(ids)

The tail is the model's own way from hidden states to logits (head, scale, cap), with a body that has already run.
Rows of unequal length are padded on the right; under a causal mask no real token sees the padding, so no attention mask
is needed and short rows cost no accuracy.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mergebarrier.errors import BadTask, BadText
from mergebarrier.evaluate.base import running

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HEAD_ROWS = 128
WINDOW_TOKENS = 256
MAX_CHARS_PER_TOKEN = 32
MIN_TOKENS = 16
MANY = 2**31
_LENGTHS = ("max_position_embeddings", "max_target_positions", "max_seq_len")


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


def text_windows(module: nn.Module, tokenizer: "Tokenizer", text: str, count: int) -> list[Tensor]:
    """Return the first windows of a text, Int64[Tensor, "1 length"] each, of 256 tokens or what the module reads.

    Raises: BadText for fewer than 16 tokens, or an id outside the vocabulary.
    """
    length = min(WINDOW_TOKENS, max_positions(module))
    ids = token_ids(tokenizer, text, max(MIN_TOKENS, count * length))
    check_vocabulary(module, ids, BadText)
    return [ids[start : start + length][None] for start in range(0, len(ids) - length + 1, length)]


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
    ids = ids.to(next(module.parameters()).device)
    with running(module):
        states: Tensor = body(input_ids=ids, use_cache=False).last_hidden_state
    return states


def logits_of(module: nn.Module, hidden: Tensor) -> Tensor:
    """Return what a model says to Float[Tensor, "n hidden"]: Float[Tensor, "n vocabulary"], in its dtype."""
    tail: Any = copy.copy(module)
    vars(tail)["_modules"] = {**vars(module)["_modules"], tail.base_model_prefix: _Ran(hidden[None])}
    logits: Tensor = tail(input_ids=None, use_cache=False).logits[0]
    return logits


def logit_blocks(module: nn.Module, hidden: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, logits) for Float[Tensor, "n hidden"], 128 rows at a time, in the module's dtype."""
    for start in range(0, len(hidden), HEAD_ROWS):
        rows = slice(start, min(start + HEAD_ROWS, len(hidden)))
        yield rows, logits_of(module, hidden[rows])


@torch.no_grad()
def next_logits(module: nn.Module, prompts: Sequence[Sequence[int]], rows: int = 256) -> Tensor:
    """Return what a model says behind the last token of each prompt: Float32[Tensor, "n vocabulary"], on the processor.

    Args:
      module:  from ``load_module``.
      prompts: token ids, at least one each; of like length they share a pass.
      rows:    prompts per pass.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    said: list[Tensor] = []
    for start in range(0, len(order), rows):
        batch = [prompts[i] for i in order[start : start + rows]]
        ids = torch.zeros(len(batch), len(batch[-1]), dtype=torch.long)
        for row, prompt in enumerate(batch):
            ids[row, : len(prompt)] = torch.tensor(prompt)
        last = torch.tensor([len(prompt) - 1 for prompt in batch])
        said.append(logits_of(module, hidden_states(module, ids)[torch.arange(len(batch)), last]).float().cpu())
    place = torch.empty(len(order), dtype=torch.long)
    place[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(said)[place]


class _Ran(nn.Module):
    """A body that has run: it gives its states to whoever calls it."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self._found = _States(states)

    @property
    def decoder(self) -> "_Ran":
        """The part of the body that some models call."""
        return self

    def forward(self, *asked: object, **options: object) -> "_States":
        """Return the states, whatever is asked."""
        del asked, options
        return self._found


class _States:
    """The output of a body: its last states, and nothing else that a body may return."""

    def __init__(self, states: Tensor) -> None:
        self.last_hidden_state = states

    def __getitem__(self, place: int | slice) -> object:
        return (self.last_hidden_state,)[place]

    def __getattr__(self, name: str) -> None:
        return None


def max_positions(module: nn.Module) -> int:
    """Longest sequence that the module was made for; a large number where there is no limit."""
    config: Any = module.config
    text = config.get_text_config()
    return int(next((value for key in _LENGTHS if (value := getattr(text, key, None))), MANY))


def check_vocabulary(module: nn.Module, ids: Sequence[int] | Tensor, fault: type[BadTask] | type[BadText]) -> None:
    """Raise when a token id is outside the embedding, which means that the tokenizer belongs to another model."""
    config: Any = module.config
    highest = int(max(ids)) if len(ids) else 0
    known = config.get_text_config().vocab_size
    if highest >= known:
        raise fault(
            f"token id {highest}, the model has {known}",
            where="tokenizer.json",
            remedy="use the tokenizer that belongs to these weights",
        )
