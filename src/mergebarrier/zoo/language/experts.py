"""Fine-tunes of the zoo's base, made here because no real pair ships in a package.

An expert reads a few questions of its task per step, and plain text that holds it to the base; the result is folded
into full weights and rounded once to bfloat16, as a publisher would store it.

    expert = bfloat16(base + (alpha / rank) B A)   for every linear map;   every other tensor is the base's
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mergebarrier.checkpoint import Checkpoint, layout_like, open_checkpoint
from mergebarrier.errors import BadText
from mergebarrier.evaluate import load_module, load_tokenizer, read_task, read_text
from mergebarrier.parameters import built
from mergebarrier.progress import Progress
from mergebarrier.training import Example, LoraRecipe, Training, train_lora
from mergebarrier.zoo.base import write_model

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXT_ROWS = 64
TEXT_TOKENS = 24
_CHARS_PER_ROW = 400


def build(
    base: Path,
    task: Path,
    text: Path,
    settings: Mapping[str, object],
    out: Path,
    content: dict[str, object],
    progress: Progress | None = None,
) -> Training:
    """Train an expert and write it.

    Args:
      base:     folder of the base.
      task:     train.jsonl of the task.
      text:     plain text for the KL term.
      settings: arguments of ``LoraRecipe``.
      out:      folder to be made.
      content:  origin, for the manifest; the losses join it.
      progress: called with (steps done, steps in all).
    Returns: Training.
    """
    with open_checkpoint(base) as checkpoint:
        module = load_module(checkpoint)
        tokenizer = load_tokenizer(checkpoint)
        examples = [
            Example(
                tuple(tokenizer.encode(row.prompt).ids),
                tuple(tokenizer.encode(row.answer, add_special_tokens=False).ids),
            )
            for row in read_task(task).rows
        ]
        rows = text_rows(tokenizer, read_text(text), TEXT_ROWS, TEXT_TOKENS)
        training = train_lora(module, examples, rows, built(LoraRecipe, settings), progress=progress)
        side_files = {name: checkpoint.read_side_file(name) for name in checkpoint.side_files if name != "README.md"}
        said = content | {"final_loss_nats": training.losses[-1][0], "task_vector_norm": training.task_vector_norm}
        write_model(out, layout_like(checkpoint), _tensors(module, checkpoint), side_files, said, (base,))
    return training


def text_rows(tokenizer: "Tokenizer", text: str, n_rows: int, length: int) -> Tensor:
    """Cut ``n_rows`` rows of ``length`` tokens out of a text, evenly spread: Int64[Tensor, "n_rows length"]."""
    stride = len(text) // n_rows
    rows = []
    for i in range(n_rows):
        start = text.find(" ", i * stride) + 1
        ids = tokenizer.encode(text[start : start + _CHARS_PER_ROW], add_special_tokens=False).ids[:length]
        if len(ids) == length:
            rows.append(ids)
    if not rows:
        raise BadText(f"the text has fewer than {length} tokens", where="text", remedy="give a longer text")
    return torch.tensor(rows)


def _tensors(module: nn.Module, base: Checkpoint) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of the expert in the base's stored dtype."""
    parameters = dict(module.named_parameters())
    for name in base.tensors:
        stored = base.read(name)
        yield name, parameters[name].detach().to(stored.dtype) if name in parameters else stored
