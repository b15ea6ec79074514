"""Second moments of what enters each linear map: G = X^T X / rows, collected while batches stream through a module.

    G_l = sum over batches of X_l^T X_l, divided by the rows in all,    X_l Float["rows in"]: what layer l was given

Only the Gram matrices of a group of layers are held at a time; a budget in bytes decides how many groups, hence how
often the data pass. A pass stops at the last layer of its group: what comes after it is never computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TypeAlias

from mergebarrier.errors import BadMergeData, LimitExceeded, NonFinite
from mergebarrier.lazy import torch
from mergebarrier.merge.learned.method import TaskData, Tensors, places_of, run

_BYTES = 8  # float64


@dataclass(frozen=True)
class Layer:
    """A linear map.

    Attributes:
      path:       of the module.
      weight:     name of its weight.
      width:      entries of an input row.
      transposed: the weight is stored (in, out), not (out, in).
    """

    path: str
    weight: str
    width: int
    transposed: bool

    @property
    def gram_bytes(self) -> int:
        """Memory of one Gram matrix."""
        return _BYTES * self.width**2


def linear_layers(module: torch.nn.Module) -> tuple[Layer, ...]:
    """Return the linear maps with a weight of their own; one that is shared (a tied head) is left out."""
    names: dict[int, int] = {}
    for _, parameter in module.named_parameters(remove_duplicate=False):
        names[id(parameter)] = names.get(id(parameter), 0) + 1
    found = []
    for path, part in module.named_modules():
        weight = getattr(part, "weight", None)
        # The second kind is the linear map of GPT-2 in transformers, which keeps its weight as (in, out).
        transposed = type(part).__name__ == "Conv1D" and isinstance(weight, torch.nn.Parameter) and weight.dim() == 2
        linear = isinstance(part, torch.nn.Linear) or transposed
        if linear and isinstance(weight, torch.nn.Parameter) and names[id(weight)] == 1:
            width = int(weight.shape[0 if transposed else 1])
            found.append(Layer(path, f"{path}.weight".lstrip("."), width, transposed))
    return tuple(found)


def reached(module: torch.nn.Module, tensors: Tensors, task: TaskData) -> tuple[Layer, ...]:
    """Return the linear layers that a batch runs through, in the order in which it does, each once.

    Raises: BadMergeData for a layer that runs twice, since a pass that stops early would miss the second time.
    """
    order: list[Layer] = []

    def note(layer: Layer, rows: torch.Tensor) -> None:
        if layer in order:
            raise BadMergeData(
                "the layer is used twice in one pass",
                where=f"{task.name}: {layer.path}",
                remedy="use a model that uses each layer once",
            )
        order.append(layer)

    with torch.no_grad(), _Watch(module, linear_layers(module), note):
        run(module, tensors, task, task.batches[0])
    return tuple(order)


def groups(layers: Sequence[Layer], n_experts: int, budget_bytes: int) -> list[list[Layer]]:
    """Cut layers, in order, into groups whose Gram matrices for all experts fit a budget.

    Raises: LimitExceeded when one layer does not.
    """
    cut: list[list[Layer]] = []
    held = budget_bytes + 1
    for layer in layers:
        needed = n_experts * layer.gram_bytes
        if needed > budget_bytes:
            raise too_large(layer.path, [layer], n_experts, budget_bytes)
        if held + needed > budget_bytes:
            cut.append([])
            held = 0
        cut[-1].append(layer)
        held += needed
    return cut


def too_large(where: str, layers: Sequence[Layer], n_experts: int, budget_bytes: int) -> LimitExceeded:
    """Compose the error for layers whose Gram matrices do not fit a budget."""
    needed = n_experts * sum(layer.gram_bytes for layer in layers)
    return LimitExceeded(
        f"the Gram matrices of {n_experts} experts take {needed} bytes, the budget is {budget_bytes}",
        where=where,
        remedy="raise the memory budget",
    )


def collect(
    module: torch.nn.Module, tensors: Tensors, task: TaskData, layers: Sequence[Layer]
) -> dict[str, torch.Tensor]:
    """Stream the batches of a task through a module and return the Gram matrices.

    Args:
      module:  the architecture.
      tensors: the weights to run with, in the module's dtypes.
      task:    the data.
      layers:  which linear maps, in the order in which data reach them.
    Returns: path of the layer -> Float64[Tensor, "in in"], the mean over rows, where the layer is.
    Raises:  NonFinite (task and layer), BadMergeData for a layer that no batch reaches.
    Numerics: products of a batch in the activations' dtype (at least float32), sums over batches in float64.
    """
    places = places_of(module)
    sums = {
        layer.path: torch.zeros(layer.width, layer.width, dtype=torch.float64, device=places[layer.weight].device)
        for layer in layers
    }
    counts = dict.fromkeys(sums, 0)
    last = layers[-1]

    def add(layer: Layer, rows: torch.Tensor) -> None:
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        sums[layer.path] += wide.T @ wide
        counts[layer.path] += len(wide)
        if layer is last:
            raise _Enough

    with torch.no_grad(), _Watch(module, layers, add):
        for i in range(len(task.batches)):
            with suppress(_Enough):
                run(module, tensors, task, task.batches[i])
    for layer in layers:
        where = f"{task.name}: {layer.path}"
        if not counts[layer.path]:
            raise BadMergeData(
                "no batch reaches this layer",
                where=where,
                remedy="give data that uses all parts of the model, for every expert",
            )
        if not torch.isfinite(sums[layer.path]).all():
            raise NonFinite("the activations are not finite", where=where, remedy="check the model and its data")
        sums[layer.path] /= counts[layer.path]
    return sums


_Given: TypeAlias = "tuple[torch.Tensor, ...]"
_Named: TypeAlias = "Mapping[str, torch.Tensor]"
_Hook: TypeAlias = "Callable[[torch.nn.Module, _Given, _Named, object], None]"
_See: TypeAlias = "Callable[[Layer, torch.Tensor], object]"


class _Enough(Exception):
    """Ends a forward pass behind the last layer that is looked at."""


class _Watch:
    """Calls ``see(layer, rows)`` with what enters each layer, inside a ``with`` block."""

    def __init__(self, module: torch.nn.Module, layers: Sequence[Layer], see: _See) -> None:
        self._parts, self._layers, self._see = dict(module.named_modules()), layers, see
        self._stack = ExitStack()

    def __enter__(self) -> None:
        for layer in self._layers:
            handle = self._parts[layer.path].register_forward_hook(self._hook(layer), with_kwargs=True)
            self._stack.callback(handle.remove)

    def __exit__(self, *fault: object) -> None:
        self._stack.close()

    def _hook(self, layer: Layer) -> _Hook:
        def hook(part: torch.nn.Module, given: _Given, named: _Named, result: object) -> None:
            rows = given[0] if given else next(iter(named.values()))
            self._see(layer, rows.detach().reshape(-1, layer.width))

        return hook
