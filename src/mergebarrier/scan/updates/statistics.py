"""Five numbers of the update of each map of a decoder, and the recipe that they belong to.

    D = upload - base, or B A of an adapter;   s = singular values / their sum;   x = entries less their mean
    log s_1,   log(sum s^2 / s_1^2),   -sum s log s,   log(mean x^4 / mean(x^2)^2),   log(|D|_F / |W|_F)

The mean over the layers is a profile of five numbers for each role that changed.  Profiles are comparable within one
recipe: the same roles, dense or of low rank, other tensors touched or not.  Rank, zeros and the norm stand beside the
numbers and take no part in them.

Source: after published detectors of poisoned adapters, which report figures within one recipe.  Differs: an adapter is
measured from its factors, whose product is rounded in no dtype; without a base the fifth number is left out.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

#: Last part of a map's name -> role, in the order of a profile.
_ROLES: Final = {
    **{f"{role}_proj": role for role in ("q", "k", "v", "o", "qkv", "gate", "up", "gate_up", "down")},
    **{"query_key_value": "qkv", "c_attn": "qkv", "out_proj": "o", "fc1": "up", "fc2": "down"},
}
#: A singular value counts for the rank from this share of the largest one on.
_RANK_SHARE: Final = 1e-4
#: Rows whose entries are looked at where an update is a product.
_ROWS: Final = 256
_TINY: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class TensorUpdate:
    """The update of one tensor.

    Args:
      name:      of the tensor.
      update:    Float[Tensor, "out in"], or of any shape where it is no map; or the factors (B, A) of a product.
      base_norm: of the tensor in the base; None where there is no base.
    """

    name: str
    update: Tensor | tuple[Tensor, Tensor]
    base_norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """An upload in numbers.

    Args:
      recipe:  which tensors changed and how; profiles of two recipes are not comparable.
      numbers: five for each role, four without a base.
      rank:    largest numerical rank of a map's update.
      zeros:   largest share of exact zeros in a map's update.
      norm:    of the whole update.
      share:   largest part of one tensor in the square of that.
    """

    recipe: str
    numbers: tuple[float, ...]
    rank: int
    zeros: float
    norm: float
    share: float


def role_of(name: str) -> str | None:
    """Return the role of a map by its name, None for another tensor."""
    return _ROLES.get(name.removesuffix(".weight").rpartition(".")[2])


def profile(changes: Iterable[TensorUpdate]) -> Profile:
    """Measure an upload; what did not change is left out, and so is a tensor that is no map but for the recipe."""
    rows: dict[str, list[list[float]]] = {}
    others, ranks, zeros, squares, full = set[str](), [0], [0.0], [0.0], True
    for one in changes:
        factors = one.update if isinstance(one.update, tuple) else None
        spectrum, entries, square = _seen(one.update)
        if square == 0.0:
            continue
        squares.append(square)
        role = role_of(one.name)
        if role is None or spectrum is None:
            others.add("embeddings" if "embed" in one.name or "lm_head" in one.name else "others")
            continue
        ranks.append(int((spectrum > _RANK_SHARE * spectrum[0]).sum()))
        full = full and ranks[-1] > min(_shape(one.update)) // 2
        zeros.append(0.0 if factors else float((entries == 0).float().mean()))
        rows.setdefault(role, []).append(_numbers(spectrum, entries, square, one.base_norm))
    roles = [role for role in dict.fromkeys(_ROLES.values()) if role in rows]
    means = [torch.tensor(rows[role], dtype=torch.float64).mean(0).tolist() for role in roles]
    how = "dense" if full else f"rank up to {_rounded(max(ranks))}"
    recipe = ", ".join([" ".join(roles) or "no map", how, *sorted(others)])
    return Profile(
        recipe=recipe,
        numbers=tuple(value for mean in means for value in mean),
        rank=max(ranks),
        zeros=max(zeros),
        norm=math.sqrt(sum(squares)),
        share=max(squares) / max(sum(squares), _TINY),
    )


def _shape(update: Tensor | tuple[Tensor, Tensor]) -> tuple[int, int]:
    left, right = update if isinstance(update, tuple) else (update, update.T)
    return left.shape[0], right.shape[-1] if isinstance(update, tuple) else update.shape[1]


def _seen(update: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor | None, Tensor, float]:
    """Return singular values (None of what is no map), entries to look at, and the squared norm."""
    if isinstance(update, tuple):
        b, a = (one.double() for one in update)
        spectrum = torch.linalg.svdvals(torch.linalg.qr(b).R @ torch.linalg.qr(a.T).R.T)
        step = max(1, len(b) // _ROWS)
        return spectrum, b[::step][:_ROWS] @ a, float(spectrum.square().sum())
    if update.dim() != 2:
        return None, update, float(update.double().square().sum())
    wide = update if update.shape[0] <= update.shape[1] else update.T
    gram = wide.double() @ wide.double().T
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(0), update, float(gram.trace())


def _numbers(spectrum: Tensor, entries: Tensor, square: float, base_norm: float | None) -> list[float]:
    s = (spectrum / spectrum.sum()).clamp_min(_TINY)
    x = entries.double() - entries.double().mean()
    kurtosis = x.pow(4).mean() / x.square().mean().square().clamp_min(_TINY**2)
    found = [
        math.log(float(s[0])),
        math.log(float(s.square().sum() / s[0].square())),
        float(-(s * s.log()).sum()),
        math.log(max(float(kurtosis), _TINY)),
    ]
    return found if base_norm is None else [*found, 0.5 * math.log(square / max(base_norm, _TINY) ** 2)]


def _rounded(rank: int, steps: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)) -> int:
    """Return the next of the ranks that adapters have."""
    return next((one for one in steps if rank <= one), rank)
