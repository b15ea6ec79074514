"""What every merge method is: a frozen set of hyper-parameters with one pure function from tensors to a tensor.

    merged = round(kernel(base, expert_1, ..., expert_N)),   accumulated in float32 (float64 for float64), rounded once

The template checks counts, shapes and dtypes once for all methods and hands flat ``Operands`` to the kernel, which
yields the result block by block. No paths, no global state, no global random numbers.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from mergebarrier.errors import BadMergeParameter, ShapeMismatch
from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import (
    BLOCK,
    Blocks,
    Operand,
    Operands,
    Streamed,
    SurveyResult,
    compute_dtype,
    store,
    store_rows,
)
from mergebarrier.parameters import check

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from mergebarrier.circuits import Circuit

OperandT = TypeVar("OperandT", bound="torch.Tensor | Streamed")
Need = Literal["elementwise", "row", "tensor", "circuit", "global", "data"]


@dataclass(frozen=True, kw_only=True)
class Merge(ABC):
    """Base of all merge methods; a subclass declares its hyper-parameters (mergebarrier.parameters).

    Class constants:
      name:        the registry key.
      need:        what ``merge`` must be given to be right: any block ("elementwise"), whole rows, the whole tensor;
        "circuit": the tensor, and ``merge_circuit`` after it.
      uses_base:   whether the base enters the formula; if not, ``base`` is ignored and may be None. A method whose
        base is optional decides it by a parameter.
      optional_base: the flag that says so for such a method, on where there is a base; "" for the others.
      min_experts, max_experts: accepted number of experts (None: no upper bound).
      differentiable: whether gradients pass from the merged tensor to the operands that ask for them.
      dense: whether its cost is that of decompositions of whole matrices, which ``device`` then moves elsewhere.
    """

    name: ClassVar[str]
    need: ClassVar[Need]
    optional_base: ClassVar[str] = ""
    min_experts: ClassVar[int] = 1
    max_experts: ClassVar[int | None] = None
    differentiable: ClassVar[bool] = False
    dense: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check every declared parameter; a method adds checks that concern several at once.

        Raises: BadMergeParameter.
        """
        check(self, functools.partial(refuse, self.name))

    @property
    @abstractmethod
    def uses_base(self) -> bool:
        """Whether the base enters the formula."""

    @abstractmethod
    def kernel(self, operands: Operands) -> Iterator[torch.Tensor]:
        """Yield the merged blocks in flat order, in the arithmetic's dtype; a yielded block may be a reused buffer."""

    def check_count(self, count: int) -> None:
        """Refuse a number of experts, or of per-expert parameters, that the method cannot take.

        Raises: BadMergeParameter with both numbers.
        """
        low, high = self.min_experts, self.max_experts
        if count < low or (high is not None and count > high):
            wanted = f"exactly {low}" if low == high else f"at least {low}" if high is None else f"{low} to {high}"
            raise BadMergeParameter(
                f"got {count} experts, takes {wanted}", where=self.name, remedy="change the list of models"
            )

    def merge(
        self,
        base: torch.Tensor | None,
        experts: Sequence[torch.Tensor],
        *,
        name: str,
        block: int = BLOCK,
        survey: SurveyResult | None = None,
        device: str = "cpu",
    ) -> torch.Tensor:
        """Merge one tensor (any block of it for need "elementwise", all of it for "tensor").

        Args:
          base:    Float[Tensor, "*shape"] or None; ignored by methods that do not use it.
          experts: Float[Tensor, "*shape"] each, finite, any float dtypes; integer tensors must be equal and are copied.
          name:    the tensor's name, part of the random key and of every message.
          block:   elements per block of the arithmetic; a matter of speed.
          survey:   what ``survey`` says about this tensor; without it the tensor is taken for the whole model.
          device:  where a dense method decomposes matrices, as torch names it; tensors come and go on the processor.
        Returns: Float[Tensor, "*shape"], contiguous, in the dtype of the base if it is used, else of the first expert.
        Raises:  BadMergeParameter (counts, missing base), ShapeMismatch (tensor, both shapes), NonFinite (tensor).
        Numerics: deterministic on one machine and torch version, independent of threads, order and block size;
          float32 results agree with a float64 reference to 1e-6 of the largest operand. Gradients: of a differentiable
          method, where an operand asks for them; the tensor is then one block. Of the others the result has none.
        """
        used = self._used(base, experts, name)
        donor = used[0]
        if not donor.is_floating_point():
            if any(not torch.equal(tensor, donor) for tensor in used[1:]):
                raise ShapeMismatch(
                    "an integer tensor differs between the models",
                    where=name,
                    remedy="merge models that were fine-tuned from one base",
                )
            return donor.clone(memory_format=torch.contiguous_format)
        if not donor.numel():
            return torch.empty(donor.shape, dtype=donor.dtype)
        traced = self.differentiable and torch.is_grad_enabled() and any(tensor.requires_grad for tensor in used)
        flat = [(tensor if traced else tensor.detach()).reshape(-1) for tensor in used]
        operands = Operands(
            flat[0] if self.uses_base else None,
            tuple(flat[1:] if self.uses_base else flat),
            name,
            self.arithmetic(used),
            tuple(donor.shape),
            donor.numel() if traced else block,  # a graph keeps what a second block would overwrite
            survey,
            device,
        )
        out = torch.empty(donor.numel(), dtype=donor.dtype)
        store(self.kernel(operands), out, name)
        return out.view(donor.shape)

    def merge_rows(
        self,
        base: Streamed | None,
        experts: Sequence[Streamed],
        *,
        name: str,
        block: int = BLOCK,
        survey: SurveyResult | None = None,
        device: str = "cpu",
    ) -> Iterator[torch.Tensor]:
        """Merge one float tensor that is read as it goes, in as many passes as it takes; else as ``merge``.

        Yields: its rows in order, with the bits that ``merge`` returns.
        """
        used = self._used(base, experts, name)
        first = used[0]
        operands = Operands(
            first if self.uses_base else None,
            tuple(used[1:] if self.uses_base else used),
            name,
            self.arithmetic(used),
            first.shape,
            block,
            survey,
            device,
        )
        return store_rows(self.kernel(operands), first, name, block)

    def _used(self, base: OperandT | None, experts: Sequence[OperandT], name: str) -> list[OperandT]:
        """Return the operands that enter the formula, the base first."""
        if not experts or experts[0].dtype.is_floating_point:  # integers are copied, whatever the weights
            self.check_count(len(experts))
        if self.uses_base and base is None:
            raise BadMergeParameter("needs the base model", where=f"{self.name}, {name}", remedy="give --base")
        used = [base, *experts] if self.uses_base and base is not None else [*experts]
        donor = used[0]
        for tensor in used[1:]:
            if tensor.shape != donor.shape or tensor.dtype.is_floating_point != donor.dtype.is_floating_point:
                raise ShapeMismatch(
                    f"{tuple(tensor.shape)} {tensor.dtype} against {tuple(donor.shape)} {donor.dtype}",
                    where=name,
                    remedy="merge models that were fine-tuned from one base",
                )
        return used

    def merge_circuit(
        self, circuit: Circuit, merged: dict[str, torch.Tensor], models: Sequence[Mapping[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        """Go over the merged tensors of a circuit, for a method whose need it is.

        Args:
          circuit: of the donor.
          merged:  its tensors, merged one by one.
          models:  those of the base and of every expert.
        Returns: tensors of the same names and dtypes.
        """
        del circuit, models
        return merged

    def survey(self, sizes: Mapping[str, int], read: Blocks, count: int) -> dict[str, SurveyResult]:
        """Look at the whole model before any tensor is merged; most methods have nothing to look for.

        Args:
          sizes: floating tensor -> elements, in the order of the model.
          read:  gives a fresh pass over a tensor, the base first.
          count: number of experts.
        Returns: tensor -> what ``merge`` gets as ``survey``.
        """
        del sizes, read, count
        return {}

    @property
    def reads(self) -> int:
        """How often the inputs are read at least, the merge itself among them."""
        return 1

    def arithmetic(self, used: Sequence[Operand]) -> torch.dtype:
        """Return the dtype to compute in; ``used`` starts with the tensor whose dtype the output takes."""
        return compute_dtype(used)


def parameters(method: DataclassInstance) -> dict[str, object]:
    """Return every hyper-parameter, defaults included, in the types that JSON has."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(method).items()
    }


def computed_on(device: str) -> dict[str, str]:
    """Return the part of the manifest that names a graphics processor, whose sums round in another order."""
    return {} if device == "cpu" else {"device": device}


def refuse(method: str, parameter: str, value: object, allowed: str) -> BadMergeParameter:
    """Compose the error for one parameter; the caller raises it."""
    return BadMergeParameter(f"{parameter} is {value!r}", where=method, remedy=f"give {parameter} as {allowed}")


def per_expert(
    method: str, parameter: str, values: float | tuple[float, ...], count: int, default: float
) -> tuple[float, ...]:
    """Spread ``values`` over ``count`` experts: none gives ``default`` to each, a single one counts for all."""
    values = values if isinstance(values, tuple) else (values,)
    if len(values) == count:
        return values
    if len(values) <= 1:
        return (values or (default,)) * count
    raise BadMergeParameter(
        f"{len(values)} values of {parameter} for {count} experts",
        where=method,
        remedy=f"give {parameter} once for all, or once per expert",
    )
