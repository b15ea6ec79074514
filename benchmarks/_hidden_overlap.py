"""How exactly shares can be known at all where parents are hidden: merges that are sums, and nothing rounded.

    d = sum_known c_j tau_j + sum_hidden w_i tau_i;   least squares give  c + G^-1 <tau, hidden>
    common    the same less the best multiple of G^-1 |tau|, chosen with the truth in hand: what any correction leaves
              that takes an unknown parent to be as like one candidate as like another

A hidden parent that has a part along tau_j and a larger share c_j are one and the same d, so nothing that sees d alone
tells them apart; what is known of a hidden parent is what other fine-tunes of the base are like.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What is left of shares without rounding: errors of true parents, by how many parents are hidden."""

    hidden: int
    shares: int
    plain: _Array
    common: _Array


def products(base: Path, experts: Sequence[Path]) -> _Array:
    """Return inner products of the experts' changes over all matrices but the embedding, Float64["m m"]."""
    anchor, *others = (load_file(path / "model.safetensors") for path in (base, *experts))
    total = torch.zeros(len(others), len(others), dtype=torch.float64)
    for name, tensor in anchor.items():
        if tensor.dim() == 2 and "embed" not in name:
            changes = torch.stack([(one[name].double() - tensor.double()).flatten() for one in others])
            total += changes @ changes.T
    return np.asarray(total.numpy())


def overlap(gram: _Array, merges: Sequence[Sequence[tuple[int, float]]], hidden: int) -> Overlap:
    """Return the errors with the first ``hidden`` parents of every merge unknown."""
    plain, common = [], []
    for shares in (one for one in merges if len(one) > hidden):
        gone, known = [n for n, _ in shares[:hidden]], dict(shares)
        seen = [n for n in range(len(gram)) if n not in gone]
        inside = gram[np.ix_(seen, seen)]
        error = np.linalg.solve(inside, gram[np.ix_(seen, gone)] @ np.array([known[n] for n in gone]))
        alike = np.linalg.solve(inside, np.sqrt(np.diag(inside)))
        told = np.array([n in known for n in seen])
        plain.extend(np.abs(error[told]))
        common.extend(np.abs(error - alike * (alike @ error) / (alike @ alike))[told])
    return Overlap(hidden=hidden, shares=len(plain), plain=np.array(plain), common=np.array(common))


def print_overlap(gram: _Array, merges: Sequence[Sequence[tuple[int, float]]]) -> None:
    """Print how like each other experts are, and what that leaves of shares."""
    size = np.sqrt(np.diag(gram))
    cosines = (gram / np.outer(size, size))[np.triu_indices(len(gram), 1)]
    print(
        "What can be known where parents are hidden: merges that are sums of the same experts, nothing rounded.\n\n"
        f"Cosines of two experts: {cosines.min():.3f} to {cosines.max():.3f}, mean {cosines.mean():.3f}, deviation "
        f"{cosines.std(ddof=1):.3f}.\n\n"
        "| hidden | shares | plain, mean | plain, worst | less the best common overlap, mean | less it, worst "
        "| within .03 |\n"
        f"|{'---|' * 7}"
    )
    for hidden in (1, 2, 3):
        one = overlap(gram, merges, hidden)
        print(
            f"| {hidden} | {one.shares} | {one.plain.mean():.3f} | {one.plain.max():.3f} | {one.common.mean():.3f} | "
            f"{one.common.max():.3f} | {int((one.common <= 0.03).sum())}/{one.shares} |"
        )
    print()
