"""Which entries of an axis go together: the permutation of the full match, mostly without its cost.

    score[j, k] = cos(gate_j, gate0_k) + |cos(up_j, up0_k)| + |cos(down_j, down0_k)|

is largest at the true partner by far.  One term is enough to see it, through a count sketch: entries are added with
random signs into 256 sums, which keeps cosines to 1/16.  A partner is sure where its exact score is above what any
other could reach, the best of the others in the sketch with a margin of five deviations and all of the other terms;
only entries that are not sure are scored exactly against all, and only those that want the same partner are assigned.

Source: sketch of Charikar, Chen and Farach-Colton (2002); the certificate is ours.  The assignment within what is left
is that of the whole wherever the sure entries outweigh it, which a test holds against the full match.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mergebarrier.numerics import draws
from mergebarrier.symmetry.blocks import ActedRows
from mergebarrier.symmetry.elements import take
from mergebarrier.symmetry.matching import Sums, assign, cosines

SKETCH_WIDTH = 256
_DEVIATIONS = 5.0
# Rows whose scores against all others are held at once, and elements of a matrix that are widened at once.
_BLOCK_ROWS = 1024
_BLOCK_ELEMENTS = 1 << 20


def pair(rows: Sequence[ActedRows], *, width: int = SKETCH_WIDTH) -> tuple[list[Tensor], list[list[Sums]]]:
    """Match the entries of an axis, in every entry of its batch.

    Args:
      rows:  matrices that carry the axis; signs of a factor that is scaled (^) do not count.
      width: of the sketch; matrices of at most twice as many columns are not sketched.
    Returns: (perms, Int64[Tensor, "n"] each: entry j of the model is entry perm[j] of the anchor; sums per matrix).
    """
    # The widest matrix whose signs count says most.
    lead = max(rows, key=lambda one: (not one.factor.scaled, one.columns))
    glances = [_glance(lead, now, then, width) for now, then in lead.entries()]
    perms, seconds, margins = (list(found) for found in zip(*glances, strict=True))
    sums = [_sums(one, perms) for one in rows]
    unsure = []
    for entry, (second, margin) in enumerate(zip(seconds, margins, strict=True)):
        total = sum(_counted(one, found[entry].cosine) for one, found in zip(rows, sums, strict=True))
        unsure.append(torch.nonzero(total <= second + margin + (len(rows) - 1))[:, 0])
    if any(map(len, unsure)):
        settled = _settled(rows, perms, unsure)
        if not all(map(torch.equal, settled, perms)):
            perms, sums = settled, [_sums(one, settled) for one in rows]
    return perms, sums


def _counted(rows: ActedRows, cosine: Tensor) -> Tensor:
    return cosine.abs() if rows.factor.scaled else cosine


def _glance(rows: ActedRows, now: Tensor, then: Tensor, width: int) -> tuple[Tensor, Tensor, float]:
    """Return the best partner by one matrix, the cosine of the next best, and how far a cosine may be off."""
    sketched = now.shape[1] > 2 * width
    sides = [sketch(side, width) if sketched else side.float() for side in (now, then)]
    left, right = (side / side.norm(dim=1, keepdim=True).clamp_min(1e-30) for side in sides)
    best, second = [], []
    for block in left.split(_BLOCK_ROWS):
        score = _counted(rows, block @ right.T)
        best.append(score.argmax(dim=1))
        second.append(score.scatter_(1, best[-1][:, None], -2.0).amax(dim=1))
    return torch.cat(best), torch.cat(second).double(), _DEVIATIONS / width**0.5 if sketched else 0.0


def sketch(rows: Tensor, width: int) -> Tensor:
    """Add the columns of matrices with signs into ``width`` sums, Float32[Tensor, "*batch n width"]."""
    m = rows.shape[-1]
    sign = 2.0 * draws.below(("sketch", "signs"), 2, m).to(rows.device).float() - 1.0
    out = torch.zeros(*rows.shape[:-1], width)
    for start in range(0, m, width):
        columns = slice(start, min(start + width, m))
        out[..., : columns.stop - start].addcmul_(rows[..., columns].float(), sign[columns])
    return out


def _sums(rows: ActedRows, perms: Sequence[Tensor]) -> list[Sums]:
    """Return the products of matched entries."""
    return [_products(now, then, perm) for (now, then), perm in zip(rows.entries(), perms, strict=True)]


def _products(now: Tensor, then: Tensor, perm: Tensor) -> Sums:
    """Sum along whichever dimension is stored together, a block at a time."""
    by_columns = now.stride(1) > now.stride(0)
    if by_columns:
        now, then = now.T, then.T
    totals = [torch.zeros(len(perm), dtype=torch.float64) for _ in range(3)]
    step = max(1, _BLOCK_ELEMENTS // max(1, now.shape[1]))
    for start in range(0, len(now), step):
        chosen = slice(start, start + step)
        a = _wide(now[chosen])
        b = _wide(take(then[chosen], 1, perm) if by_columns else then.index_select(0, perm[chosen]))
        for total, (x, y) in zip(totals, ((a, a), (a, b), (b, b)), strict=True):
            if by_columns:
                total += (x * y).sum(0).double()
            else:
                total[chosen] = (x * y).sum(1).double()
    return Sums(*totals)


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _scores(rows: Sequence[ActedRows], chosen: Sequence[Tensor], columns: Sequence[Tensor]) -> list[Tensor]:
    """Return, for every entry of the batch, exact scores of some rows against some of the anchor's."""
    scores = [torch.zeros(len(here), len(there)) for here, there in zip(chosen, columns, strict=True)]
    for one in rows:
        for score, (now, then), here, there in zip(scores, one.entries(), chosen, columns, strict=True):
            score += _counted(one, cosines(now[here], then[there]))
    return scores


def _settled(rows: Sequence[ActedRows], perms: Sequence[Tensor], unsure: Sequence[Tensor]) -> list[Tensor]:
    """Score the entries that are not sure against all, and assign those that want the same partner."""
    everyone = [torch.arange(len(perm)) for perm in perms]
    settled, rivals, free = [], [], []
    for perm, here, score in zip(perms, unsure, _scores(rows, unsure, everyone), strict=True):
        found = perm.clone()
        found[here] = score.argmax(dim=1)
        wanted = torch.bincount(found, minlength=len(found))
        rival = torch.zeros(len(found), dtype=torch.bool)
        rival[here] = True
        rival = (rival | (wanted[found] > 1)) & bool((wanted > 1).any())
        taken = torch.zeros(len(found), dtype=torch.bool)
        taken[found[~rival]] = True
        settled.append(found)
        rivals.append(torch.nonzero(rival)[:, 0])
        free.append(torch.nonzero(~taken)[:, 0])
    if any(map(len, rivals)):
        for found, rival, columns, score in zip(settled, rivals, free, _scores(rows, rivals, free), strict=True):
            found[rival] = columns[assign(score)]
    return settled
