"""How a base stores what an adapter updates, where a square shape leaves it open: by the class of the module.

    Linear (out, in)    Conv1D of GPT-2's kind (in, out)    experts (e, out, in), of some classes (e, in, out)

Source: transformers 5.23, and peft, whose ``fan_in_fan_out`` is set anew by the class of every module it meets, so that
a saved one speaks of the last of them.  Before 0.19 peft took all experts for (e, in, out).
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from mergebarrier.checkpoint.adapter.contents import Factors
from mergebarrier.checkpoint.adapter.kinds import Update

_CONV1D_TYPES = frozenset(("clvp", "clvp_decoder", "decision_transformer", "gpt2", "imagegpt", "openai-gpt"))
_CONV1D = frozenset(("c_attn", "c_fc", "c_proj", "q_attn"))
#: Types whose experts are stored (e, in, out).
IN_OUT = frozenset(("aria", "aria_text", "gpt_oss", "openai_privacy_filter"))
#: The first peft that asks for the layout of experts.
_ASKS = (0, 19)
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.\d{1,4})?(\.?dev|rc|a|b)?")


def stored_in_out(config: Mapping[str, object], module: str) -> bool | None:
    """Say whether a module's matrix is stored (in, out); None where its class is not known."""
    from mergebarrier.arch import FAMILIES

    types = list(_types(config))
    if module.rpartition(".")[2] in _CONV1D and not _CONV1D_TYPES.isdisjoint(types):
        return True
    return False if types and FAMILIES.of_type(types[0]) else None


def stored(update: Update, shape: tuple[int, ...], config: Mapping[str, object], *, flag: bool) -> bool | None:
    """Say whether the weight of an update of another kind is stored (in, out); None where it is for no such weight."""
    straight, turned = update.fits(shape), update.turns and len(shape) == 2 and update.fits(shape[::-1])
    if not straight or not turned:
        return turned if straight or turned else None
    known = stored_in_out(config, update.module)
    return flag if known is None else known


def fits(factors: Factors, shape: tuple[int, ...]) -> bool:
    """Say whether an update of a parameter is one of a tensor of this shape."""
    plain = factors.shape
    if len(shape) == 3:
        return shape[0] == factors.experts and shape[1:] in (plain, plain[::-1])
    return factors.experts == 1 and shape == plain


def orientations(
    updates: Sequence[Factors], shapes: Sequence[tuple[int, ...]], config: Mapping[str, object], version: object
) -> list[bool | None]:
    """Say of updates of parameters whether each tensor is stored (in, out): by the shapes, else by the class.

    Args:
      updates: that fit.
      shapes:  of their tensors.
      config:  of the base.
      version: of the peft that trained them, None where that is not told.
    Returns: None for one that nothing tells.
    """
    pairs = list(zip(updates, shapes, strict=True))
    turned = {shape[-2:] != one.shape for one, shape in pairs if one.shape[0] != one.shape[1]}
    square = next(iter(turned)) if len(turned) == 1 else _experts_in_out(config, version)
    is_open = [one.shape[0] == one.shape[1] and len(shape) == 3 for one, shape in pairs]
    return [square if odd else shape[-2:] != one.shape for odd, (one, shape) in zip(is_open, pairs, strict=True)]


def _experts_in_out(config: Mapping[str, object], version: object) -> bool | None:
    """Say whether peft of a version adds to experts as stored (e, in, out); None where the version is not told."""
    told = _VERSION.match(version) if isinstance(version, str) else None
    if told is None:
        return None
    found = int(told[1]), int(told[2])
    if found == _ASKS and told[3]:
        return None
    return found < _ASKS or not IN_OUT.isdisjoint(_types(config))


def _types(table: Mapping[str, object]) -> Iterator[str]:
    """Yield the model types of a configuration and of the tables inside it."""
    if isinstance(kind := table.get("model_type"), str):
        yield kind
    for value in table.values():
        if isinstance(value, dict):
            yield from _types(value)
