"""What a model is asked while it is trained: rows in parts, the right answers, and how surely the model gives them.

    loss = mean over answers of -log p(right answer | row)

A language model answers with tokens, and plain text is a row as well: its first token is the question and the rest the
answer.  An image encoder answers with a class under a head that belongs to the task and stays as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.training.answers import answer_logits
from mergebarrier.training.lora import Example


@dataclass(frozen=True)
class ChosenRows:
    """Some rows of one part of the owner's data: places within it."""

    part: str
    places: tuple[int, ...]


@dataclass(frozen=True)
class StepRows:
    """What one step may look at; ``text`` is empty where the owner gave none."""

    task: ChosenRows
    text: ChosenRows


class Learner(Protocol):
    """A model with the owner's data.

    Attributes:
      module:     the model.
      parameters: name -> parameter of the module, float32 or bfloat16, on its device.
      sizes:      part ("task", "validation", "text") -> rows.
    """

    @property
    def module(self) -> nn.Module:
        """The model."""
        ...

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """Name -> parameter of the module."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """Part -> rows."""
        ...

    def answers(self, rows: ChosenRows) -> tuple[Tensor, Tensor]:
        """Return logits, Float32[Tensor, "answers classes"], and the right ones, Int64[Tensor, "answers"]."""
        ...

    def tokens(self, rows: ChosenRows) -> int:
        """Return what a pass over the rows reads: tokens, or pictures."""
        ...

    def answered(self, rows: ChosenRows) -> list[int]:
        """Return how many answers each row has."""
        ...


class TextLearner:
    """A language model of transformers; nothing is dropped, so a pass takes nothing from the global random state.

    Args:
      module:     the model, in evaluation mode, or without any dropout.
      parts:      part -> examples.
      parameters: those of its parameters that a merge sees, by other names than the module's own.
    """

    def __init__(
        self,
        module: nn.Module,
        parts: Mapping[str, Sequence[Example]],
        parameters: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        """Keep what is given."""
        self.module, self._parts = module, parts
        self.parameters: Mapping[str, nn.Parameter] = parameters or dict(module.named_parameters())
        self.sizes: Mapping[str, int] = {part: len(rows) for part, rows in parts.items()}

    def answers(self, rows: ChosenRows) -> tuple[Tensor, Tensor]:
        """Return what is predicted where the answers stand, and the answers."""
        with precision(self.parameters):
            return answer_logits(self.module, self._chosen(rows))

    def tokens(self, rows: ChosenRows) -> int:
        """Return the tokens that are read, padding left out."""
        return sum(len(one.prompt) + len(one.answer) - 1 for one in self._chosen(rows))

    def answered(self, rows: ChosenRows) -> list[int]:
        """Return the tokens of every answer."""
        return [len(one.answer) for one in self._chosen(rows)]

    def _chosen(self, rows: ChosenRows) -> list[Example]:
        return [self._parts[rows.part][place] for place in rows.places]


class PictureLearner:
    """An image encoder under a frozen head.

    Args:
      module:     pictures [n c h w] in [0, 1] -> features.
      parameters: those of its parameters that a merge sees, by the names of their file.
      parts:      part -> (pictures, UInt8 or Float32; classes, Int64).
      head:       Float32[Tensor, "classes features"], unit rows.
      scale:      of the logits.
    """

    def __init__(
        self,
        module: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        parts: Mapping[str, tuple[Tensor, Tensor]],
        *,
        head: Tensor,
        scale: float,
    ) -> None:
        """Keep what is given."""
        self.module, self._parts, self._head, self._scale = module, parts, head, scale
        self.parameters = parameters
        self.sizes: Mapping[str, int] = {part: len(labels) for part, (_, labels) in parts.items()}

    def answers(self, rows: ChosenRows) -> tuple[Tensor, Tensor]:
        """Return the logits of every class, and the right classes."""
        pictures, labels = (held[list(rows.places)] for held in self._parts[rows.part])
        if not pictures.is_floating_point():
            pictures = pictures.float() / 255
        with precision(self.parameters):
            features = F.normalize(self.module(pictures.to(self._head.device)).float(), dim=-1)
        return self._scale * features @ self._head.T, labels.to(self._head.device)

    def tokens(self, rows: ChosenRows) -> int:
        """Return the number of pictures."""
        return len(rows.places)

    def answered(self, rows: ChosenRows) -> list[int]:
        """Return one for every picture."""
        return [1] * len(rows.places)


def precision(parameters: Mapping[str, nn.Parameter]) -> torch.autocast:
    """Return the context of a pass: bfloat16 arithmetic on a graphics processor, that of the parameters elsewhere."""
    device = next(iter(parameters.values())).device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=device != "cpu")


def all_rows(learner: Learner, part: str) -> ChosenRows:
    """Return every row of a part."""
    return ChosenRows(part, tuple(range(learner.sizes.get(part, 0))))


def split_rows(rows: ChosenRows, size: int) -> list[ChosenRows]:
    """Cut rows into batches."""
    return [ChosenRows(rows.part, rows.places[start : start + size]) for start in range(0, len(rows.places), size)]


def loss_of(learner: Learner, rows: ChosenRows) -> Tensor:
    """Return the loss of the module as it is, with its graph."""
    logits, right = learner.answers(rows)
    return F.cross_entropy(logits, right)


@torch.no_grad()
def mean_loss(learner: Learner, rows: ChosenRows, *, batch: int = 16) -> tuple[float, float]:
    """Return (mean loss over answers, share of answers that are the most probable ones) of the module as it is."""
    nats = right = total = 0.0
    for part in split_rows(rows, batch):
        logits, wanted = learner.answers(part)
        nats += float(F.cross_entropy(logits.double(), wanted, reduction="sum"))
        right += int((logits.argmax(-1) == wanted).sum())
        total += len(wanted)
    return nats / max(total, 1.0), right / max(total, 1.0)
