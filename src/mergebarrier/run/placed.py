"""An algorithm that knows of no device, run on one: what it reads comes there, what it makes is made there.

    tensors it reads     Placed(checkpoint), PlacedTable(table)     read by the processor, then moved
    tensors it makes     torch.device(device) as a context          torch's default while a call lasts, thread by thread
    what it returns      comes back to the processor

So no function of it takes a device.  Source: torch's contexts of devices.  Differs: none is held across a ``yield``,
behind which other code runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Final, ParamSpec, TypeVar, cast

from mergebarrier.checkpoint import Checkpoint, View, ViewPart
from mergebarrier.lazy import torch
from mergebarrier.run.transform import Change, Changed
from mergebarrier.run.units import Block, Tables, Unit

_Given = ParamSpec("_Given")
_T = TypeVar("_T")
UnitT = TypeVar("UnitT", bound=Unit)
_CPU: Final = "cpu"


def placed(function: Callable[_Given, _T], device: str) -> Callable[_Given, _T]:
    """Return a function whose new tensors are made on a device; itself for the processor.

    It must not be a generator function: what that makes, it makes later.
    """
    if device == _CPU:
        return function

    def called(*given: _Given.args, **named: _Given.kwargs) -> _T:
        with torch.device(device):
            return function(*given, **named)

    return called


class Placed(View):
    """A checkpoint whose tensors are moved to a device as they are read.

    Args:
      stored: what is read.
      device: as ``device_named`` returns it.
    """

    def __init__(self, stored: Checkpoint, device: str) -> None:
        """Read nothing."""
        super().__init__(stored, {name: ViewPart.of(stored, name) for name in stored.tensors}, {})
        self._device = device

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor; as ``Checkpoint.read``."""
        return _moved(super().read, self._device, name)

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read rows; as ``Checkpoint.read_rows``."""
        return _moved(super().read_rows, self._device, name, start, stop)

    def read_matrix_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read rows of a tensor seen as a matrix; as ``Checkpoint.read_matrix_rows``."""
        return _moved(super().read_matrix_rows, self._device, name, start, stop)


class PlacedTable(MutableMapping[str, torch.Tensor]):
    """A table of tensors of the processor that are moved to a device when they are looked at."""

    def __init__(self, table: Block, device: str) -> None:
        """Look at nothing."""
        self._table, self._device = table, device

    def __getitem__(self, name: str) -> torch.Tensor:
        """Return one tensor."""
        return _moved(self._table.__getitem__, self._device, name)

    def entry(self, name: str, number: int) -> torch.Tensor:
        """Return one index of the first dimension of a tensor."""
        return _moved(self._table.entry, self._device, name, number)

    def __setitem__(self, name: str, tensor: torch.Tensor) -> None:
        """Put a tensor in the place of one."""
        self._table[name] = tensor

    def __delitem__(self, name: str) -> None:
        """Forget a tensor."""
        del self._table[name]

    def __contains__(self, name: object) -> bool:
        """Say whether one is there, without reading it."""
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._table)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._table)


def placed_change(change: Change[UnitT], device: str) -> Change[UnitT]:
    """Return a change that is computed on a device; itself for the processor."""
    if device == _CPU:
        return change

    def changed(unit: UnitT, tables: Tables) -> Changed:
        here = [PlacedTable(cast("Block", table), device) for table in tables]
        new = placed(change, device)(unit, here)
        rows = _brought(iter(new.items() if isinstance(new, Mapping) else new), device)
        return dict(rows) if isinstance(new, Mapping) else rows

    return changed


def _brought(rows: Iterator[tuple[str, torch.Tensor]], device: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield results on the processor."""
    while True:
        with torch.device(device):
            row = next(rows, None)
        if row is None:
            return
        yield row[0], row[1].cpu()


def _moved(read: Callable[..., torch.Tensor], device: str, *given: object) -> torch.Tensor:
    with torch.device(_CPU):
        found = read(*given)
    return found.to(device)
