"""IA3: one number per output of a module, or per input of those that lead back into the stream.

    W = diag(l) W_0,  b = l * b_0            W = W_0 diag(l) where the module is one of ``feedforward_modules``

Source: arXiv 2205.05638, peft 0.21.2, which compares the names of ``feedforward_modules`` with the end of a module's,
wherever that begins.  Differs: computed in float64 and rounded once.
"""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from mergebarrier.checkpoint.adapter.kinds.kind import (
    MODULES,
    Kind,
    Movement,
    Parts,
    Read,
    Rows,
    Settings,
    Update,
    need,
    without_factors,
)
from mergebarrier.checkpoint.adapter.patterns import Pattern

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Scaling(Update):
    """l of one module; ``inputs`` says that it scales what enters."""

    inputs: bool
    turns = True

    @property
    def biased(self) -> bool:
        """As ``Update.biased``: where outputs are scaled."""
        return not self.inputs

    def fits(self, shape: tuple[int, ...]) -> bool:
        """As ``Update.fits``; a convolution in groups has an input for each of them."""
        size = self.first.numel
        if not self.inputs:
            return size == shape[0]
        return size == shape[1] or (len(shape) > 2 and size % shape[1] == 0 and shape[0] % (size // shape[1]) == 0)

    def moved(self, read: Read, movement: Movement) -> "dict[str, Tensor]":
        """As ``Update.moved``: the numbers change places with what they scale."""
        apart = movement.inputs_keep_apart if self.inputs else movement.outputs_keep_apart
        if not movement.splits or not apart:
            raise ValueError(
                f"IA3 scales every {'input' if self.inputs else 'output'} apart, and the method mixes them"
            )
        scale = read(self.first.name).double().flatten()
        row, move = (scale[None], movement.inputs) if self.inputs else (scale[:, None], movement.outputs)
        found = without_factors(move(row), move(row.new_ones(row.shape)))
        return {"ia3_l": found.reshape([-1 if size > 1 else 1 for size in self.first.shape])}

    def rows(self, read: Read, shape: tuple[int, ...], *, transposed: bool) -> Rows:
        """As ``Update.rows``."""
        scale = read(self.first.name).double().flatten()
        if self.inputs == transposed:  # a number per row
            return lambda rows, first, last: rows.mul_(scale[first:last, None])
        if transposed:
            return lambda rows, first, last: rows.mul_(scale)
        groups = scale.numel() // shape[1]
        wide = scale.view(groups, shape[1]).repeat_interleave(prod(shape[2:]), dim=1)

        def per_input(rows: "Tensor", first: int, last: int) -> "Tensor":
            here = [row * groups // shape[0] for row in range(first, last)]
            return rows.mul_(wide[here])

        return per_input


def _make(module: str, parts: Parts, shared: Parts, config: Settings) -> Update:
    del shared
    (scale,) = need(parts, "ia3_l")
    inputs = _is_feedforward(module, config.document.get("feedforward_modules"))
    if len(scale.shape) < 2 or scale.numel != max(scale.shape):
        raise ValueError(f"shape {scale.shape}; a module has one number per output or input")
    if len(scale.shape) == 2 and scale.numel > 1 and scale.shape[0] != (1 if inputs else scale.numel):
        said = "names it" if inputs else "does not name it"
        raise ValueError(f"shape {scale.shape}, and feedforward_modules {said}")
    return Scaling(module=module, parts=parts, inputs=inputs)


def _is_feedforward(module: str, named: object) -> bool:
    if isinstance(named, str):
        return Pattern(named).is_all_of(module)
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ValueError("feedforward_modules of the configuration is no list of names and no pattern")
    return any(module.endswith(name) for name in named)


IA3 = Kind(
    name="IA3",
    ends=("ia3_l",),
    keys=MODULES | {"feedforward_modules", "fan_in_fan_out", "init_ia3_weights"},
    make=_make,
)
