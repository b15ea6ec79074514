"""Level 1, edits: merge a part of the protected expert's task vector only, of which the rest may be what guards it.

    top-k    the largest k % of the entries of every tensor         rank-r   its best approximation of rank r
    projection (level 3)   tau C (C + e I)^-1,  C = E[x x^T] of what every linear map reads in the protected model

Each edit is tried at a few coefficients, chosen by the loss on validation rows.  Source: TIES' trimming, arXiv
2306.01708, and its relatives; the projection deletes what no input of the attacker's rows excites, noise above all.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from mergebarrier.audit.bench import TASKS, AuditSpec, Bench, Blend, Pair, spread
from mergebarrier.audit.ladder.tuner import Tuner
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Where an edited expert is tried after the best two coefficients of the whole one.
_PAIRS: tuple[Pair, ...] = ((1.0, 0.5), (0.7, 0.7), (1.0, 0.3), (0.5, 1.0), (1.0, 1.0))
_RIDGE = 3e-3
_ROWS = 8


def tried(edited: Blend, bench: Bench, start: Pair, evaluations: int) -> Mapping[str, Pair]:
    """Try an edited mix at the start and at further coefficients; the one of the least loss is left in the module."""
    found: dict[Pair, float] = {}
    for pair in list(dict.fromkeys((start, *_PAIRS)))[:evaluations]:
        edited.write(spread(pair, edited.names))
        found[pair] = bench.validation_loss()
    best = spread(min(found, key=lambda pair: found[pair]), edited.names)
    edited.write(best)
    return best


def largest(blend: Blend, bench: Bench, start: Pair, evaluations: int, *, share: float) -> Mapping[str, Pair]:
    """Keep the largest entries of every tensor."""

    def kept(tau: "Tensor") -> "Tensor":
        count = max(1, round(share * tau.numel()))
        least = tau.abs().flatten().kthvalue(tau.numel() - count + 1).values
        return tau * (tau.abs() >= least)

    return tried(blend.edited(lambda name, tau: kept(tau)), bench, start, evaluations)


def of_rank(blend: Blend, bench: Bench, start: Pair, evaluations: int, *, rank: int) -> Mapping[str, Pair]:
    """Keep the best approximation of a rank of every matrix; vectors stay."""

    def kept(tau: "Tensor") -> "Tensor":
        if tau.dim() != 2 or min(tau.shape) <= rank:
            return tau
        tall = tau if tau.shape[0] >= tau.shape[1] else tau.T
        top = torch.linalg.eigh(tall.T @ tall).eigenvectors[:, -rank:]
        near = tall @ top @ top.T
        return torch.as_tensor(near if tall is tau else near.T)

    return tried(blend.edited(lambda name, tau: kept(tau)), bench, start, evaluations)


def projected(blend: Blend, bench: Bench, start: Pair, evaluations: int) -> Mapping[str, Pair]:
    """Keep what the inputs of every linear map of the protected model excite."""
    blend.write(spread((1.0, 0.0), blend.names))
    seen = moments(bench)

    def kept(name: str, tau: "Tensor") -> "Tensor":
        if name not in seen:
            return tau
        moment, first = seen[name]
        size = len(moment)
        ridge = _RIDGE * moment.diagonal().mean().clamp_min(1e-30) * torch.eye(size, device=moment.device)
        share = torch.linalg.solve(moment + ridge, moment)
        return torch.as_tensor(share @ tau if first else tau @ share.T)

    return tried(blend.edited(kept), bench, start, evaluations)


def moments(bench: Bench) -> "dict[str, tuple[Tensor, bool]]":
    """Return E[x x^T] of what each linear map of the live module reads, and whether inputs are its first axis."""
    from mergebarrier.training import linears_of

    module, inside = bench.live.module, set(linears_of(bench.live.module))
    found: dict[str, tuple[Tensor, bool]] = {}

    def hook(name: str, first: bool) -> "Callable[[nn.Module, tuple[Tensor, ...]], None]":
        def add(part: "nn.Module", read: "tuple[Tensor, ...]") -> None:
            del part
            x = read[0].detach().float().flatten(0, -2)
            found[name] = (x.T @ x + (found[name][0] if name in found else 0.0), first)

        return add

    handles = [
        part.register_forward_pre_hook(hook(f"{name}.weight", type(part).__name__ == "Conv1D"))
        for name, part in module.named_modules()
        if name.rpartition(".")[2] in inside and hasattr(part, "weight")
    ]
    try:
        for task in TASKS:
            rows = bench.rows(task, "validation")
            for begin in range(0, len(rows), _ROWS):
                bench.live.answers(rows[begin : begin + _ROWS], learning=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _granted(spec: AuditSpec) -> int:
    return spec.edit_evaluations


def _granted_activations(spec: AuditSpec) -> int:
    return spec.edit_evaluations if 3 in spec.levels else 0


def _dense(tries: int) -> int:
    """Return what editing every matrix costs, in merges."""
    return 4


EDITS: tuple[Tuner, ...] = (
    Tuner(name="top-20", budget=_granted, search=partial(largest, share=0.2)),
    Tuner(name="top-50", budget=_granted, search=partial(largest, share=0.5)),
    Tuner(name="rank-4", budget=_granted, search=partial(of_rank, rank=4), passes=_dense),
    Tuner(name="rank-12", budget=_granted, search=partial(of_rank, rank=12), passes=_dense),
)
PROJECTION = Tuner(
    name="projection", budget=_granted_activations, search=projected, looks=lambda tries: 1 + tries, passes=_dense
)
