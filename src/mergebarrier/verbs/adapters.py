"""The job of a merge of adapters: the plan reads the factors itself, the executor gives it memory, threads and a sink.

What every module lost by its cut is collected on the way; a module that an earlier run had finished is measured again.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier.checkpoint import ADAPTER_CONFIG, TensorInfo
from mergebarrier.errors import unique
from mergebarrier.merge import MergeUnit
from mergebarrier.merge.adapters import AdapterPlan, Measured, dump
from mergebarrier.run import Change, Tables
from mergebarrier.verbs.checks import MergeInput
from mergebarrier.verbs.job import MergeJob, adapter_facts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Sizes:
    """A source that holds nothing: names and sizes of the output, for the executor to reckon with."""

    tensors: Mapping[str, TensorInfo]

    def read(self, name: str) -> "Tensor":
        """Return no elements; the plan knows where its operands are."""
        del name
        import torch

        return torch.empty(0)

    def read_rows(self, name: str, start: int, stop: int) -> "Tensor":
        """Return no elements."""
        del start, stop
        return self.read(name)

    def verify_unchanged(self) -> None:
        """Nothing was opened here; the inputs of the job are verified on their own."""


def by_adapters(planned: AdapterPlan, described: Mapping[str, object]) -> MergeJob:
    """Return the job of a merge of adapters into an adapter.

    Args:
      planned:   the plan.
      described: the part of the manifest that says what was asked: method, parameters or recipe.
    """
    measured: dict[str, Measured] = {}

    @functools.cache
    def surveyed() -> AdapterPlan:
        return planned.surveyed()

    def apply(unit: MergeUnit, blocks: Tables) -> dict[str, "Tensor"]:
        del blocks
        tensors, norms = surveyed().merge(unit.name)
        if norms is not None:
            measured[unit.name] = norms
        return tensors

    def begin() -> Change[MergeUnit]:
        surveyed()
        return apply

    def figures() -> dict[str, object]:
        for name in planned.modules:
            norms = measured[name] if name in measured else surveyed().merge(name)[1]
            assert norms is not None
            measured[name] = norms
        return planned.figures(measured)

    given = list({id(adapter): adapter for adapter in planned.adapters if adapter is not None}.values())
    names = unique([adapter.name for adapter in given])
    inputs = [
        MergeInput("adapter", name, adapter.weights, adapter_facts(adapter))
        for name, adapter in zip(names, given, strict=True)
    ]
    if planned.base is not None and planned.whole:
        inputs.insert(0, MergeInput("base", planned.base.name, planned.base))
    return MergeJob(
        inputs=tuple(inputs),
        sources=(_Sizes(planned.sizes),),
        units=planned.units,
        apply=begin,
        layout=planned.layout,
        request={**described, "output_kind": "adapter", "lora_space": planned.space},
        side_files={ADAPTER_CONFIG: dump(planned.config)},
        measured=figures,
        beside=() if planned.base is None else planned.base.folders,
        notes=tuple(planned.notes),
        facts={**described, **planned.summary()},
    )
