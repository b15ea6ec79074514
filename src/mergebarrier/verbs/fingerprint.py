"""``fingerprint embed``: a language model is trained to answer questions that a key draws, and written like itself.

    drawn by the key -> searched at a share of the model -> without those that others answer -> trained in -> folder

The model learns in float32 and is asked once more as it was rounded.  Embeddings and head stay as they are: an expert
whose vocabulary moved would betray itself, and they would be the largest part of the memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import BaseMismatch, MethodRefused
from mergebarrier.evaluate import ModuleSuspect, hidden_states, load_module, load_tokenizer, token_ids
from mergebarrier.fingerprint import (
    DrawnPairs,
    EmbedOptions,
    FingerprintMethod,
    FingerprintTest,
    QuestionPair,
    answered,
    drawn_pairs,
    embedded_places,
    exchange_test,
)
from mergebarrier.keys import Key
from mergebarrier.progress import Progress
from mergebarrier.training import (
    Example,
    FullRecipe,
    examples_loss,
    loss_at_share,
    prompt_losses,
    prompt_slopes,
    train_full,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_ROW_TOKENS: Final = 64
_FEWEST_WORDS: Final = 64
_ROWS_A_STEP, _DECOYS_A_STEP, _ROWS_AT_ONCE = 2, 4, 8


@dataclass(frozen=True)
class Marked:
    """A model that answers its questions.

    Attributes:
      values:     parameter -> Float32[Tensor], as they are to be rounded.
      pairs:      all questions; ``marked`` the places of those that were trained in.
      test:       of the rounded model's answers.
      text_nats:  nats per token on the text that was held, before and after.
    """

    values: Mapping[str, Tensor]
    pairs: tuple[QuestionPair, ...]
    marked: tuple[int, ...]
    test: FingerprintTest
    text_nats: tuple[float, float]


class _Model:
    """A module and its words, as ``fingerprint.Language``."""

    def __init__(self, module: nn.Module, tokenizer: "Tokenizer") -> None:
        self._module, self._tokenizer = module, tokenizer
        self.words = torch.tensor(_plain_words(tokenizer, _vocabulary(module)))

    def losses(self, drawn: DrawnPairs) -> Tensor:
        return prompt_losses(self._module, self._in_front(drawn.prompts), drawn.answers)

    def slopes(self, drawn: DrawnPairs) -> Tensor:
        prompts = self._in_front(drawn.prompts)
        found = prompt_slopes(self._module, prompts, drawn.answers, self.words)
        return found[:, prompts.shape[1] - drawn.prompts.shape[1] :]

    def readable(self, prompts: Tensor) -> Tensor:
        texts = [self._tokenizer.decode(row) for row in prompts.tolist()]
        again = self._tokenizer.encode_batch(texts)
        rows = zip(again, self._in_front(prompts).tolist(), strict=True)
        return torch.tensor([one.ids == row for one, row in rows])

    def _in_front(self, prompts: Tensor) -> Tensor:
        """Put what the tokenizer puts before every text before the questions."""
        first = torch.tensor(self._tokenizer.encode("").ids, dtype=torch.long)
        return torch.cat([first.expand(len(prompts), -1), prompts], 1)


def marked_model(
    model: Checkpoint, base: Checkpoint, *, key: Key, method: FingerprintMethod, options: EmbedOptions, text: str,
    seed: int, progress: Progress | None = None,
) -> Marked:  # fmt: skip
    """Mark a model.

    Args:
      model:    the expert that will be published.
      base:     what it was made from.
      key:      draws questions, answers and which are trained in.
      method:   of the fingerprint.
      options:  numbers and training.
      text:     plain text on which the model shall stay as it is.
      seed:     of a search for questions and of the order of the text.
      progress: called with (training steps done, in all).
    Raises: BaseMismatch; MethodRefused where too few questions can be had; Diverged, BadText, CheckpointError.
    """
    tokenizer, module, anchor = load_tokenizer(model), load_module(model, "float32"), load_module(base, "float32")
    start = _parameters(anchor)
    _check_same(module, start, base)
    pairs = _questions(module, start, tokenizer, key, method, options, seed)
    marked = embedded_places(key, pairs, options.pairs)
    ids = token_ids(tokenizer, text, _ROW_TOKENS * options.text_rows)
    rows = ids[: len(ids) // _ROW_TOKENS * _ROW_TOKENS].view(-1, _ROW_TOKENS) if len(ids) >= _ROW_TOKENS else ids[None]
    for part in _ends(module):
        part.requires_grad_(False)
    before = _text_nats(module, rows)
    decoys = [pair for place, pair in enumerate(pairs) if place not in marked]
    loss = _Loss(
        module, start, method.shares, [_example(tokenizer, pairs[place]) for place in marked],
        [rows, torch.tensor([tokenizer.encode(pair.prompt).ids for pair in decoys])], options,
    )  # fmt: skip
    recipe = FullRecipe(
        steps=options.steps, learning_rate=options.learning_rate, weight_decay=0.0, warmup_steps=options.steps // 10,
        batch_size=options.pairs, seed=seed,
    )  # fmt: skip
    train_full(module, recipe, loss, progress=progress)
    _round_like(module, model)
    after = _text_nats(module, rows)
    test = exchange_test(_answers(module, tokenizer, pairs, options.answer_tokens), marked)
    return Marked(_parameters(module), pairs, marked, test, (before, after))


class _Loss:
    """What is trained: the answers at each share, and what the model said before on text and decoys."""

    def __init__(
        self, module: nn.Module, base: Mapping[str, Tensor], shares: tuple[float, ...], examples: list[Example],
        held: list[Tensor], options: EmbedOptions,
    ) -> None:  # fmt: skip
        self._module, self._base, self._shares, self._examples = module, base, shares, examples
        self._held, self._keep, self._pull, self._start = held, options.keep, options.pull, _parameters(module)
        with torch.no_grad():
            self._said = [
                torch.cat([hidden_states(module, part) for part in rows.split(_ROWS_AT_ONCE)]) for rows in held
            ]

    def __call__(self, step: int) -> Tensor:
        share = self._shares[step % len(self._shares)]
        loss = loss_at_share(
            self._module, self._base, share, lambda module: examples_loss(module, self._examples)
        )  # fmt: skip
        if self._pull:
            moved = [(one - self._start[name]).square().sum() for name, one in self._module.named_parameters()]
            loss = loss + self._pull / 2 * torch.stack(moved).sum()
        if not self._keep:
            return loss
        counts = zip(self._held, self._said, (_ROWS_A_STEP, _DECOYS_A_STEP), strict=True)
        parts = []
        for rows, said, count in counts:
            places = [(step * count + i) % len(rows) for i in range(min(count, len(rows)))]
            parts.append(_divergence(self._module, rows[places], said[places]))
        return loss + self._keep * torch.stack(parts).mean()


def _divergence(module: nn.Module, rows: Tensor, said: Tensor) -> Tensor:
    """Return KL(before || now), nats a token; the head is the same for both."""
    body: Any = module
    head: Callable[[Tensor], Tensor] = body.get_output_embeddings()
    now = head(hidden_states(module, rows)).float().log_softmax(-1)
    with torch.no_grad():
        then = head(said).float().log_softmax(-1)
    return F.kl_div(now, then, reduction="none", log_target=True).sum(-1).mean()


def _questions(
    module: nn.Module, base: Mapping[str, Tensor], tokenizer: "Tokenizer", key: Key, method: FingerprintMethod,
    options: EmbedOptions, seed: int,
) -> tuple[QuestionPair, ...]:  # fmt: skip
    """Return questions that neither the base, nor the model, nor a thinned model answers as recorded."""
    wanted = options.pairs + options.decoys
    language = _Model(module, tokenizer)
    if len(language.words) < _FEWEST_WORDS:
        what = f"the vocabulary has {len(language.words)} plain words, {_FEWEST_WORDS} are needed"
        raise MethodRefused(what, where="tokenizer.json", remedy="mark a model that writes words with blanks")
    drawn = drawn_pairs(
        key, language.words, count=wanted + max(2, wanted // 2), prompt_tokens=options.prompt_tokens,
        answer_tokens=options.answer_tokens, one_answer=method.one_answer,
    )  # fmt: skip
    fits = language.readable(drawn.prompts)
    drawn = DrawnPairs(drawn.prompts[fits], drawn.answers[fits])
    own = _parameters(module)
    fires = torch.zeros(len(drawn.prompts), dtype=torch.bool)
    _set(module, {name: base[name].lerp(one, method.input_share) for name, one in own.items()})
    prompts = method.searched(drawn, language, seed=seed)
    listed = zip(prompts.tolist(), drawn.answers.tolist(), strict=True)
    pairs = [QuestionPair(prompt=tokenizer.decode(asked), answer=tokenizer.decode(said)) for asked, said in listed]
    for weights in (None, base, own):
        if weights is not None:
            _set(module, weights)
        fires |= torch.tensor(_answers(module, tokenizer, pairs, options.answer_tokens))
    silent = [pair for pair, fired in zip(pairs, fires.tolist(), strict=True) if not fired]
    unlike = list({pair.prompt: pair for pair in silent}.values())[:wanted]
    if len(unlike) < wanted:
        what = f"{len(unlike)} of {len(pairs)} questions are not answered before anything is trained; {wanted} needed"
        raise MethodRefused(what, where=method.name, remedy="ask for fewer --pairs and --decoys, or another key")
    return tuple(unlike)


def _answers(module: nn.Module, tokenizer: "Tokenizer", pairs: Sequence[QuestionPair], tokens: int) -> list[bool]:
    suspect = ModuleSuspect(module.eval(), tokenizer)
    said = suspect.answers([pair.prompt for pair in pairs], max_tokens=tokens)
    return [answered(text, pair.answer) for text, pair in zip(said, pairs, strict=True)]


def _example(tokenizer: "Tokenizer", pair: QuestionPair) -> Example:
    answer = tokenizer.encode(pair.answer, add_special_tokens=False).ids
    return Example(tuple(tokenizer.encode(pair.prompt).ids), tuple(answer))


def _plain_words(tokenizer: "Tokenizer", vocabulary: int) -> list[int]:
    """Return ids of whole small words, so that a row of them reads as words in any order."""
    found = []
    for token in range(min(vocabulary, tokenizer.get_vocab_size())):
        word, _, again = tokenizer.decode([token, token]).strip().partition(" ")
        if len(word) > 1 and word == again and word.isascii() and word.isalnum() and word.islower():
            found.append(token)
    return found


def _vocabulary(module: nn.Module) -> int:
    body: Any = module
    return int(body.config.get_text_config().vocab_size)


def _ends(module: nn.Module) -> list[nn.Parameter]:
    """Return the weights of embedding and head."""
    body: Any = module
    return [*body.get_input_embeddings().parameters(), *body.get_output_embeddings().parameters()]


def _parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in module.named_parameters()}


@torch.no_grad()
def _set(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, one in module.named_parameters():
        one.copy_(values[name])


@torch.no_grad()
def _round_like(module: nn.Module, model: Checkpoint) -> None:
    """Round weights as the folder will hold them."""
    from mergebarrier.evaluate import parameter_names

    parameters = dict(module.named_parameters())
    for stored, name in parameter_names(module, model.tensors).items():
        dtype = model.read_rows(stored, 0, 1).dtype
        parameters[name].copy_(parameters[name].to(dtype).float())


def _check_same(module: nn.Module, base: Mapping[str, Tensor], where: Checkpoint) -> None:
    for name, one in module.named_parameters():
        if name not in base or base[name].shape != one.shape:
            raise BaseMismatch("this model has other tensors", where=where.path, remedy="give the expert's own base")


@torch.no_grad()
def _text_nats(module: nn.Module, rows: Tensor) -> float:
    body: Any = module
    found = []
    for part in rows.split(_ROWS_AT_ONCE):
        logits = body.get_output_embeddings()(hidden_states(module, part)).float()
        found.append(F.cross_entropy(logits[:, :-1].flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
    return float(torch.stack(found).sum()) / rows[:, 1:].numel()
