"""What merges that learn share: the data of each task, and a way to run a module with other weights than its own.

A method is given an architecture (a module), tensors by name for base and experts, and one ``TaskData`` per expert:
batches of any kind and a callable that runs a module on one. So the same method merges language models and vision
encoders with heads of their own; nothing here knows what a batch is. The module's own weights are never written.

    outputs(module with tensors in place, batch) -> Float[Tensor, "rows classes"]
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from mergebarrier.errors import BadMergeData, BadMergeParameter, NonFinite, ShapeMismatch, TensorSetMismatch
from mergebarrier.lazy import torch
from mergebarrier.merge.method import refuse
from mergebarrier.merge.methods import Linear
from mergebarrier.parameters import check
from mergebarrier.progress import Progress

Tensors: TypeAlias = "Mapping[str, torch.Tensor]"
#: Called with (steps done, steps in all).


@dataclass(frozen=True)
class TaskData:
    """Data of one expert's task; labels are never asked for.

    Args:
      name:    of the task, for messages.
      batches: anything with a length that can be indexed, at least one batch; a method that needs more begins again.
      outputs: runs a module on a batch: logits Float[Tensor, "rows classes"], one row per prediction. For ``regmean``
        any value will do, since only what enters the linear maps is looked at.
    """

    name: str
    batches: Sequence[object]
    outputs: Callable[[torch.nn.Module, Any], torch.Tensor]


@dataclass(frozen=True)
class Learned:
    """A merge that was learned.

    Attributes:
      tensors:      name -> merged tensor, in the dtypes of the base, or of the first expert where there is no base.
      coefficients: name -> lambda per expert, for methods that learn coefficients; else empty.
      diagnostics:  what was seen on the way, in the types that JSON has.
    """

    tensors: dict[str, torch.Tensor]
    coefficients: dict[str, tuple[float, ...]] = field(default_factory=dict)
    diagnostics: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataMerge(ABC):
    """Base of the merges that need data; a subclass declares its hyper-parameters (mergebarrier.parameters).

    Class constants:
      name:      the registry key.
      uses_base: whether the base enters the formula; if not, ``base`` may be None.
      dense:     it runs models, so a device has something to do.
    """

    name: ClassVar[str]
    uses_base: ClassVar[bool] = False
    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check every declared parameter.

        Raises: BadMergeParameter.
        """
        check(self, functools.partial(refuse, self.name))

    def merge(
        self,
        module: torch.nn.Module,
        base: Tensors | None,
        experts: Sequence[Tensors],
        data: Sequence[TaskData],
        *,
        progress: Progress | None = None,
    ) -> Learned:
        """Merge experts of one architecture.

        Args:
          module:   the architecture, in evaluation mode, on the device and in the dtype to compute in. Its weights are
            used only for parameters that the experts do not list (a frozen head, say) and are the same afterwards.
          base:     name -> tensor; None for a method that does not use it.
          experts:  name -> tensor each, equal names and shapes; names are those of the module's parameters and buffers.
            May read from a disk: a tensor is asked for when it is needed. They and the result are on the processor.
          data:     one per expert, in the same order.
          progress: called with (steps done, steps in all).
        Returns: Learned.
        Raises:  BadMergeData (no data, or for another number of experts, an empty one, a module in training mode),
          BadMergeParameter (missing base), TensorSetMismatch, ShapeMismatch, NonFinite (activations, loss, result).
        Numerics: determinism class profile: the same bits for the same torch build, machine and number of threads.
        """
        self._check(module, base, experts, data)
        return self.learn(module, base, experts, data, progress if progress is not None else _ignore)

    @abstractmethod
    def held_bytes(self, elements: int, largest: int, itemsize: int, n_experts: int) -> int:
        """Return the memory that ``merge`` holds besides the module, the result and the activations of a batch.

        Args:
          elements:  of all tensors.
          largest:   elements of the largest one.
          itemsize:  bytes per element in the module's dtype.
          n_experts: number of experts.
        """

    @abstractmethod
    def learn(
        self,
        module: torch.nn.Module,
        base: Tensors | None,
        experts: Sequence[Tensors],
        data: Sequence[TaskData],
        progress: Progress,
    ) -> Learned:
        """Learn the merge; inputs are already validated."""

    def _check(
        self, module: torch.nn.Module, base: Tensors | None, experts: Sequence[Tensors], data: Sequence[TaskData]
    ) -> None:
        if not experts:
            raise BadMergeParameter("got 0 experts, takes at least 1", where=self.name, remedy="give the models")
        if self.uses_base and base is None:
            raise BadMergeParameter("needs the base model", where=self.name, remedy="give --base")
        if len(data) != len(experts):
            raise BadMergeData(
                f"data for {len(data)} experts, there are {len(experts)}",
                where=self.name,
                remedy="give the data of each expert once, in the order of the experts",
            )
        for task in data:
            if not len(task.batches):
                raise BadMergeData("holds no batch", where=f"{self.name}: {task.name}", remedy="give data")
        if any(part.training for part in module.modules()):
            raise BadMergeData("the module is in training mode", where=self.name, remedy="call eval() on it first")
        places = places_of(module)
        donor = base if self.uses_base and base is not None else experts[0]
        for name in donor:
            if name not in places:
                raise TensorSetMismatch("the module has no such tensor", where=name, remedy="use its own names")
        for number, expert in enumerate(experts, 1):
            odd = sorted(donor.keys() ^ expert.keys())
            if odd:
                raise TensorSetMismatch(
                    f"expert {number} differs in {len(odd)} tensors",
                    where=odd[0],
                    remedy="merge models that were fine-tuned from one base",
                )
            for name in donor:
                if expert[name].shape != places[name].shape:
                    raise ShapeMismatch(
                        f"expert {number} has {tuple(expert[name].shape)}, the module {tuple(places[name].shape)}",
                        where=name,
                        remedy="merge models that were fine-tuned from one base",
                    )


def places_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters and buffers of a module by name; a tied one counts once, under its first name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def cast(module: torch.nn.Module, tensors: Tensors) -> dict[str, torch.Tensor]:
    """Return the tensors where the module computes, and in its dtypes."""
    places = places_of(module)
    return {name: tensors[name].to(places[name]) for name in tensors}


def run(module: torch.nn.Module, tensors: Tensors, task: TaskData, batch: object) -> torch.Tensor:
    """Run a module on a batch with ``tensors`` in the place of its own weights; gradients flow to them."""
    from mergebarrier.merge.learned._call import Call

    inside = {f"inner.{name}": tensor for name, tensor in tensors.items()}
    result: torch.Tensor = torch.func.functional_call(Call(module), inside, (task.outputs, batch))
    return result


def outputs_of(module: torch.nn.Module, tensors: Tensors, task: TaskData) -> torch.Tensor:
    """Return the outputs of a module on all batches of a task, one after the other.

    Args:
      module:  the architecture; its weights are the same afterwards.
      tensors: name -> tensor to run with.
      task:    whose ``outputs`` may return whatever is wanted: logits, or features.
    Returns: Float[Tensor, "rows width"].
    Raises:  NonFinite.
    """
    with torch.no_grad():
        placed = cast(module, tensors)
        found = torch.cat([run(module, placed, task, task.batches[i]) for i in range(len(task.batches))])
    if not torch.isfinite(found).all():
        raise NonFinite("the outputs are not finite", where=task.name, remedy="check the models and the data")
    return found


def mean(experts: Sequence[Tensors], name: str) -> torch.Tensor:
    """Return the plain mean of a tensor, rounded once to the dtype of the first expert; integers must be equal."""
    return Linear().merge(None, [expert[name] for expert in experts], name=name)


def _ignore(done: int, total: int) -> None:
    """No-op: no progress is shown."""
