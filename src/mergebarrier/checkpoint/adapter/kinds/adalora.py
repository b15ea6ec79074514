"""AdaLoRA: a LoRA whose factors are joined by singular values, from which training has cut those of least use.

    W = W_0 + s B diag(e) A,      s = lora_alpha / (r_0 + 0.00001),   r_0 = ``init_r``, before anything was cut

``rank_pattern`` says by true and false which of the r_0 are left of a module; the file holds those alone.

Source: arXiv 2303.10512, peft 0.21.2.  Differs: computed in float64 and rounded once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier.checkpoint.adapter.kinds.kind import (
    LAYERS,
    MODULES,
    Kind,
    Movement,
    Parts,
    Read,
    Rows,
    Settings,
    Update,
    flat,
    need,
    need_rank,
)

if TYPE_CHECKING:
    from torch import Tensor


_NEVER_ZERO = 1e-5


@dataclass(frozen=True, kw_only=True)
class SingularUpdate(Update):
    """A, e and B of one module and s."""

    scale: float
    turns = True

    def fits(self, shape: tuple[int, ...]) -> bool:
        """As ``Update.fits``."""
        return flat(shape) == (self.parts["lora_B"].shape[0], self.parts["lora_A"].shape[1])

    def moved(self, read: Read, movement: Movement) -> "dict[str, Tensor]":
        """As ``Update.moved``: as the factors of LoRA do."""
        if not movement.splits:
            raise ValueError("its tensor is no plain matrix")
        b, a = (read(self.parts[end].name).double() for end in ("lora_B", "lora_A"))
        return {"lora_B": movement.outputs(b), "lora_A": movement.inputs(a)}

    def rows(self, read: Read, shape: tuple[int, ...], *, transposed: bool) -> Rows:
        """As ``Update.rows``."""
        del shape
        a, values, b = (read(self.parts[end].name).double() for end in ("lora_A", "lora_E", "lora_B"))
        left, right = b, a * values * self.scale
        if transposed:
            left, right = right.T.contiguous(), left.T
        return lambda rows, first, last: rows.addmm_(left[first:last], right)


def _make(module: str, parts: Parts, shared: Parts, config: Settings) -> Update:
    del shared
    a, values, b = need(parts, "lora_A", "lora_E", "lora_B")
    if any(len(info.shape) != 2 for info in (a, values, b)) or values.shape[1] != 1:
        raise ValueError(f"shapes {a.shape}, {values.shape} and {b.shape} of A, E and B; E has one column")
    before = config.document.get("init_r", 12)
    if type(before) is not int or before < 1:
        raise ValueError("init_r of the configuration is no whole number above zero")
    left = before
    for name, kept in _pattern(config.document.get("rank_pattern")).items():
        if name.split(".lora_E")[0] == module:
            left = sum(kept)
    need_rank(left, ("lora_A", a.shape[0]), ("lora_E", values.shape[0]), ("lora_B", b.shape[1]))
    scale = (config.alpha if config.alpha > 0 else float(left)) / (before + _NEVER_ZERO)
    return SingularUpdate(module=module, parts=parts, scale=scale)


def _pattern(table: object) -> Mapping[str, list[bool]]:
    if table is None:
        return {}
    if not isinstance(table, dict) or not all(
        isinstance(kept, list) and all(type(one) is bool for one in kept) for kept in table.values()
    ):
        raise ValueError("rank_pattern of the configuration is no table of lists of true and false")
    return table


_KEYS = MODULES | LAYERS | frozenset((
    "r", "lora_alpha", "lora_dropout", "fan_in_fan_out", "bias", "init_lora_weights", "rank_pattern", "target_r",
    "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step", "loftq_config",
    "megatron_core", "eva_config", "qalora_group_size",
))  # fmt: skip
ADALORA = Kind(
    name="ADALORA",
    ends=("lora_A", "lora_E", "lora_B"),
    keys=_KEYS,
    make=_make,
)
