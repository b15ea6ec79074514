"""A place for merged tensors that is a live model: a cell of an audit never touches the disk.

    put(name, tensor)  =>  module.<name> <- tensor,   rounded to the module's dtype where that is narrower

Names are those on disk.  A head tied to the embedding and buffers that the stock class computes itself are taken and
dropped, as stock software does when it loads such a file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mergebarrier.arch import FAMILIES
from mergebarrier.errors import ShapeMismatch, UnknownTensor, clean


def parameter_names(module: nn.Module) -> dict[str, str]:
    """Return the parameters of a module by every spelling that checkpoints on disk use."""
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    return {spelling: name for name, _ in module.named_parameters() for spelling in (name, name.removeprefix(prefix))}


class ModuleSink:
    """Copies tensors into the parameters of a module; satisfies ``run.Sink``.

    Args:
      module: from ``load_module``, of the same architecture as the tensors to come.
    """

    def __init__(self, module: nn.Module) -> None:
        """Map the names on disk to parameters."""
        config: Any = module.config
        parameters = dict(module.named_parameters())
        self._places: Mapping[str, Tensor] = {
            spelling: parameters[name].data for spelling, name in parameter_names(module).items()
        }
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
        if name in self._places:
            return self._places[name]
        if any(family.is_verbatim(name) or (self._tied and name == family.head) for family in FAMILIES.values()):
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
