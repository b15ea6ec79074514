"""A place for merged tensors that is a live model: a cell of an audit never touches the disk.

    put(name, tensor)  =>  module.<name> <- tensor,   rounded to the module's dtype where that is narrower

Names are those on disk.  A head tied to the embedding and buffers that the stock class computes itself are taken and
dropped, as stock software does when it loads such a file.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mergebarrier.arch import FAMILIES
from mergebarrier.errors import ShapeMismatch, UnknownTensor, clean
from mergebarrier.evaluate.base import ParameterNames


class ModuleSink:
    """Copies tensors into the parameters of a module; satisfies ``run.Sink``.

    Args:
      module: from ``load_module``, of the same architecture as the tensors to come.
    """

    def __init__(self, module: nn.Module) -> None:
        """Map the names on disk to parameters."""
        config: Any = module.config
        self._names, self._parameters = ParameterNames(module), dict(module.named_parameters())
        self._tied = bool(getattr(config, "tie_word_embeddings", False))  # an encoder has no head

    def done(self, unit_name: str) -> bool:
        """Say no: a live module remembers nothing between runs."""
        return False

    def put(self, name: str, tensor: Tensor) -> None:
        """Take a whole tensor; ShapeMismatch or UnknownTensor when it has no place."""
        place = self._place(name)
        if place is not None:
            self._copy(name, place, tensor)

    def put_rows(self, name: str, start_row: int, tensor: Tensor) -> None:
        """Take rows ``start_row`` and following of a tensor."""
        place = self._place(name)
        if place is not None:
            self._copy(name, place[start_row : start_row + len(tensor)], tensor)

    def finish(self, unit_name: str, names: Sequence[str]) -> None:
        """No-op: a tensor is complete once put."""

    def _place(self, name: str) -> Tensor | None:
        if self._tied and name in self._names.heads:
            return None
        place = self._names.of(name)
        if place is not None:
            return self._parameters[place].data
        if any(family.is_verbatim(name) for family in FAMILIES.values()):
            return None
        raise UnknownTensor(
            "the module has no such parameter", where=clean(name), remedy="merge models of one architecture"
        )

    @torch.no_grad()
    def _copy(self, name: str, place: Tensor, tensor: Tensor) -> None:
        if place.shape != tensor.shape:
            raise ShapeMismatch(
                f"the module has {tuple(place.shape)}, the tensor {tuple(tensor.shape)}",
                where=clean(name),
                remedy="merge models of one architecture",
            )
        place.copy_(tensor)
