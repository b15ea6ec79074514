"""The one deterministic training loop: low-rank adapters on every linear map, folded into the weights at the end.

A step sees a few questions and a few lines of plain text.  Only answer tokens are learned; on the text the model is
held to its earlier predictions, so that an expert stays a language model and its task vector stays small.

    loss = CE(answer tokens) + kl_weight * KL(base || expert) on text;   W <- W + (alpha / rank) B A, rounded once

Source: LoRA, Hu et al., arXiv 2106.09685 (peft's layers).  Differs: the draws come from a keyed counter, not from a
global generator; a step is one packed row under a block-causal mask, so short questions cost no padding; of the base
only the final hidden states are kept, since its head is also the expert's.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.errors import BadTask, BadText, MissingExtra
from mergebarrier.progress import Progress
from mergebarrier.training.batches import order, uniform
from mergebarrier.training.full import FullRecipe, train_full

LLAMA_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Example:
    """Token ids of a question and of the answer that is learned; neither is empty."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class LoraRecipe:
    """Hyper-parameters of one expert.

    Args:
      rank, alpha:    of the adapters; the update is scaled by alpha / rank.
      targets:        last names of the linear maps that get one.
      learning_rate:  of AdamW without weight decay; linear warm-up, constant, then linear decay to a tenth.
      warmup_steps:   steps of the warm-up.
      steps:          steps in all; the decay takes the second half.
      batch_size:     questions per step.
      kl_weight:      of the KL term; 0 switches it off.
      kl_rows:        rows of text per step.
      seed:           of the adapters' start and of the order of examples.
    Raises: ValueError for a value out of range.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = LLAMA_LINEARS
    learning_rate: float = 5e-4
    warmup_steps: int = 5
    steps: int = 60
    batch_size: int = 8
    kl_weight: float = 1.0
    kl_rows: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("rank", "steps", "batch_size", "kl_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}; it must be at least 1")
        if not (self.learning_rate > 0 and self.alpha > 0 and self.kl_weight >= 0):
            raise ValueError("learning_rate and alpha must be positive, kl_weight must not be negative")
        if self.warmup_steps < 0 or self.seed < 0 or not self.targets:
            raise ValueError("warmup_steps and seed must not be negative, and targets must name a linear map")

    def rate(self, step: int) -> float:
        """Return the learning rate of step 0, 1, ..."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        half = self.steps / 2
        return self.learning_rate * rise * max(0.1, 1 - max(0.0, step + 1 - half) / half)


@dataclass(frozen=True)
class Training:
    """What a run saw: (answer loss, KL) in nats per token for every step, and the norm of the task vector it made."""

    losses: tuple[tuple[float, float], ...]
    task_vector_norm: float


def train_lora(
    module: nn.Module,
    examples: Sequence[Example],
    texts: Tensor,
    recipe: LoraRecipe,
    *,
    progress: Progress | None = None,
) -> Training:
    """Turn a base module into an expert, in place.

    Args:
      module:   the base in float32 or bfloat16; adapters are float32 in either case.  Its linear weights change.
      examples: questions with answers, at least one.
      texts:    Int64[Tensor, "n length"], rows of plain text for the KL term, at least ``kl_rows`` of them.
      recipe:   hyper-parameters.
      progress: called with (steps done, steps in all).
    Returns: Training.
    Raises:  BadTask without examples, BadText with too few rows of text, MissingExtra without peft.
    Numerics: determinism class profile: the same bits for the same torch build, CPU and number of threads; takes
              nothing from and leaves nothing in the global random state.
    """
    if not examples or not all(example.prompt and example.answer for example in examples):
        raise BadTask("there is no example, or one without tokens", where="examples", remedy="give whole examples")
    if recipe.kl_weight and len(texts) < recipe.kl_rows:
        raise BadText(f"{len(texts)} rows of text, {recipe.kl_rows} are needed", where="texts", remedy="give more text")
    body: Any = module.base_model
    head: Any = module
    head = head.get_output_embeddings()
    precision = _precision(module)
    # Every text row is used in turn; the base's states are computed once.
    anchors = _base_states(body, texts, precision) if recipe.kl_weight else None
    visits = order(len(examples), seed=recipe.seed)
    losses = []
    with _adapters(module, recipe) as adapter_weights:
        optimizer = torch.optim.AdamW(adapter_weights, weight_decay=0.0)
        for step in range(recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step)
            batch = [examples[next(visits)] for _ in range(recipe.batch_size)]
            rows = [(step * recipe.kl_rows + i) % len(texts) for i in range(recipe.kl_rows)] if recipe.kl_weight else []
            packed = _pack(batch, texts[rows])
            with precision():
                hidden = body(
                    input_ids=packed.ids, position_ids=packed.positions, attention_mask=packed.mask, use_cache=False
                ).last_hidden_state[0]
                loss = F.cross_entropy(head(hidden[packed.predicting]).float(), packed.targets)
                kl = torch.zeros(())
                if anchors is not None:
                    with torch.no_grad():
                        said = head(anchors[rows].flatten(0, 1)).float().log_softmax(-1)
                    says = head(hidden[packed.text_start :]).float().log_softmax(-1)
                    kl = F.kl_div(says, said, reduction="none", log_target=True).sum(-1).mean()
            torch.autograd.backward(loss + recipe.kl_weight * kl)
            optimizer.step()
            optimizer.zero_grad()
            losses.append((float(loss.detach()), float(kl.detach())))
            if progress is not None:
                progress(step + 1, recipe.steps)
        norm = _fold(module)
    return Training(tuple(losses), norm)


def train_adapters(
    module: nn.Module, recipe: LoraRecipe, loss: Callable[[int], Tensor], *, progress: Progress | None = None
) -> tuple[float, ...]:
    """Minimise any loss by low-rank adapters, in place, with the loop and the numerics of ``train_full``.

    Args:
      module:   any dtype; adapters are float32.  The linear weights that ``recipe.targets`` names change.
      recipe:   hyper-parameters; batch_size and what belongs to the KL term are left to the closure.
      loss:     step -> scalar with a graph; draws its own batch.
      progress: called with (steps done, steps in all).
    Returns: the loss of every step.
    Raises:  Diverged, MissingExtra without peft.
    """
    plain = FullRecipe(
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        weight_decay=0.0,
        warmup_steps=recipe.warmup_steps,
        seed=recipe.seed,
    )
    with _adapters(module, recipe):
        losses = train_full(module, plain, loss, progress=progress)
        _fold(module)
    return losses


def linears_of(module: nn.Module) -> tuple[str, ...]:
    """Return the last names of the linear maps inside a model, in order; its head is none of them."""
    model: Any = module
    head = model.get_output_embeddings()
    found = (
        name.rpartition(".")[2]
        for name, part in module.named_modules()
        if part is not head and (isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D")
    )
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class _Packed:
    """A step as one row: questions with answers first, text from ``text_start`` on."""

    ids: Tensor  # (1, T)
    positions: Tensor  # (1, T)
    mask: Tensor  # (1, 1, T, T), 0 where a token may look and -inf elsewhere
    predicting: list[int]
    targets: Tensor
    text_start: int


def _pack(batch: Sequence[Example], texts: Tensor) -> _Packed:
    """Lay sequences end to end; each sees itself only, and the last token of an answer is never read."""
    sequences: list[list[int]] = []
    predicting: list[int] = []
    targets: list[int] = []
    start = 0
    for example in batch:
        read = [*example.prompt, *example.answer[:-1]]
        predicting += range(start + len(example.prompt) - 1, start + len(read))
        targets += example.answer
        sequences.append(read)
        start += len(read)
    text_start = start
    sequences += texts.tolist()
    owner = torch.cat([torch.full((len(sequence),), i) for i, sequence in enumerate(sequences)])
    position = torch.cat([torch.arange(len(sequence)) for sequence in sequences])
    may_look = (owner[:, None] == owner[None, :]) & (position[:, None] >= position[None, :])
    mask = torch.zeros(may_look.shape).masked_fill_(~may_look, -math.inf)
    ids = torch.tensor([token for sequence in sequences for token in sequence])
    return _Packed(ids[None], position[None], mask[None, None], predicting, torch.tensor(targets), text_start)


_Precision: TypeAlias = Callable[[], contextlib.AbstractContextManager[object]]


def _precision(module: nn.Module) -> _Precision:
    """Return the context of a forward pass: bfloat16 arithmetic for a bfloat16 module, else nothing."""
    if next(module.parameters()).dtype == torch.bfloat16:
        return lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext


@torch.no_grad()
def _base_states(body: Any, texts: Tensor, precision: _Precision) -> Tensor:
    with precision():
        return torch.cat([body(input_ids=rows, use_cache=False).last_hidden_state for rows in texts.split(32)])


@contextlib.contextmanager
def _adapters(module: nn.Module, recipe: LoraRecipe) -> Iterator[list[Tensor]]:
    """Put adapters into the module and take them out again; yield their weights.

    B starts at zero and A uniform on +-1/sqrt(in), as in peft, but keyed by name.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtra(
            "training needs the extra 'eval'", where="peft", remedy="pip install 'mergebarrier[eval]'"
        ) from error
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    originals = list(module.parameters())
    config = peft.LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=list(recipe.targets))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # peft remarks on deprecations of its own, and that it notices a transposed layer by itself.
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(module, config)
    try:
        weights = []
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                weights.append(parameter)
                if ".lora_A." in name:
                    start = (2 * uniform(recipe.seed, name, *parameter.shape) - 1) / math.sqrt(parameter.shape[1])
                    parameter.data.copy_(start)
        yield weights
    finally:
        adapted.unload()
        for parameter, flag in zip(originals, wanted, strict=True):
            parameter.requires_grad_(flag)


@torch.no_grad()
def _fold(module: nn.Module) -> float:
    """Add every adapter to its weight, rounding once; return the norm of what was added after rounding."""
    squares = 0.0
    for part in module.modules():
        if hasattr(part, "get_delta_weight") and hasattr(part, "base_layer"):
            layer: Any = part
            weight = layer.base_layer.weight
            moved = (weight.float() + layer.get_delta_weight("default").float()).to(weight.dtype)
            squares += float((moved.float() - weight.float()).square().sum())
            weight.copy_(moved)
    return math.sqrt(squares)
