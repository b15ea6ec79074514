"""Float64 references, each written straight from its formula: whole tensors, no blocks, no code of the package."""

from collections.abc import Sequence

import torch
from torch import Tensor


def linear(base: Tensor | None, experts: Sequence[Tensor], weights: Sequence[float], normalize: bool = True) -> Tensor:
    total = sum(w * x.double() for w, x in zip(weights, experts, strict=True))
    return total / sum(weights) if normalize else total


def keep_largest(tau: Tensor, density: float) -> Tensor:
    """Indicator of the max(1, floor(density n)) largest magnitudes; ties by flat index (a stable sort)."""
    if density >= 1 or not tau.numel():
        return torch.ones_like(tau)
    k = max(1, int(density * tau.numel())) if density > 0 else 0
    order = torch.sort(tau.reshape(-1).abs(), descending=True, stable=True).indices
    mask = torch.zeros(tau.numel(), dtype=tau.dtype)
    mask[order[:k]] = 1
    return mask.reshape(tau.shape)


def rescaled(tau: Tensor, mask: Tensor, rescale: str, density: float) -> Tensor:
    kept = tau * mask
    if rescale == "inverse":
        return kept / density if density > 0 else kept
    if rescale == "l1":
        before, after = tau.abs().sum(), kept.abs().sum()
        return kept if min(before, after) < 1e-7 else kept * (before / after)
    return kept


def weighted_sum(
    base: Tensor, taus: Sequence[Tensor], weights: Sequence[float], coefficient: float, normalize: bool = False
) -> Tensor:
    total = sum(w * tau for w, tau in zip(weights, taus, strict=True))
    divisor = sum(weights) if normalize else 1.0
    return base.double() + coefficient * total / (divisor if abs(divisor) >= 1e-8 else 1.0)


def elected(
    base: Tensor,
    taus: Sequence[Tensor],
    weights: Sequence[float],
    coefficient: float,
    *,
    elect: str = "weighted",
    elect_zero: str = "plus",
    reduce: str = "weighted_mean",
) -> Tensor:
    weighted = torch.stack([w * tau for w, tau in zip(weights, taus, strict=True)])
    votes = weighted if elect == "weighted" else torch.stack(list(taus))
    balance = votes.sum(0)
    sign = balance.sign()
    tie = 1.0 if elect_zero == "plus" or sign.sum() >= 0 else -1.0
    sign = torch.where(sign == 0, tie, sign)
    agree = votes.sign() == sign
    if reduce == "max":
        size = torch.where(agree, weighted.abs(), -1.0)
        best = weighted.gather(0, size.argmax(0, keepdim=True))[0]
        total = torch.where(agree.any(0), best, 0.0)
    else:
        total = torch.where(agree, weighted, 0.0).sum(0)
        column = torch.tensor(weights, dtype=torch.float64).reshape(-1, *[1] * base.dim())
        divisor = {"sum": torch.ones_like(total), "mean": agree.double().sum(0)}.get(reduce, (agree * column).sum(0))
        total = total / torch.where(divisor == 0, 1.0, divisor)
    return base.double() + coefficient * total


def slerp(a: Tensor, b: Tensor, t: float, max_cosine: float = 0.9995) -> Tensor:
    a, b = a.double(), b.double()
    norms = a.norm() * b.norm()
    if a.norm() <= 1e-8 or b.norm() <= 1e-8 or abs((a * b).sum() / norms) > max_cosine:
        return (1 - t) * a + t * b
    angle = torch.acos(((a * b).sum() / norms).clamp(-1, 1))
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def keep_between(tau: Tensor, density: float, gamma: float) -> Tensor:
    """Indicator of the floor(density n) largest magnitudes after the floor(gamma n) largest; ties by flat index."""
    if density >= 1:
        return torch.ones_like(tau)
    size, kept = tau.numel(), int(density * tau.numel())
    first = min(int(gamma * size), size - kept)
    order = torch.sort(tau.reshape(-1).abs(), descending=True, stable=True).indices
    mask = torch.zeros(size, dtype=tau.dtype)
    mask[order[first : first + kept]] = 1
    return mask.reshape(tau.shape)


def keep_by_rank(tau: Tensor, levels: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Indicator of what stays, and each entry's probability; draw and level belong to the rank in the row."""
    order = torch.sort(tau.abs(), dim=-1, stable=True).indices
    stays = (drawn.reshape(tau.shape) < levels - 32768).to(tau.dtype)
    probability = (levels / 65536).to(tau.dtype).expand_as(tau)
    mask, p = torch.zeros_like(tau), torch.zeros_like(tau)
    return mask.scatter(-1, order, stays), p.scatter(-1, order, probability.contiguous())


def arc(a: Tensor, b: Tensor, t: float) -> Tensor:
    """NuSLERP of two vectors."""
    if min(a.norm(), b.norm()) < 1e-7:
        return (1 - t) * a + t * b
    cosine = (a @ b / (a.norm() * b.norm())).clamp(-1, 1)
    if 1 - cosine**2 <= 1e-16:
        return (1 - t) * a + t * b
    angle = torch.acos(cosine)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def nuslerp(a: Tensor, b: Tensor, t: float, flatten: bool, row_wise: bool) -> Tensor:
    if flatten:
        return arc(a.reshape(-1), b.reshape(-1), t).reshape(a.shape)
    if row_wise:
        return nuslerp(a.T, b.T, t, False, False).T
    return torch.stack([arc(x, y, t) for x, y in zip(a, b, strict=True)])


def multislerp(vectors: Sequence[Tensor], weights: Sequence[float], normalize: bool, eps: float = 1e-8) -> Tensor:
    """With the tangent step that the formula has and that comes out as zero."""
    weights = [w / sum(weights) for w in weights] if normalize else list(weights)
    units = [x / (x.norm() + eps) for x in vectors]
    mean = sum(w * u for w, u in zip(weights, units, strict=True))
    mean = mean / mean.norm()
    tangent = sum(w * (u - (u * mean).sum() * mean) for w, u in zip(weights, units, strict=True))
    length = tangent.norm() + eps
    point = mean * torch.cos(length) + tangent * (torch.sin(length) / length)
    return point * sum(w * x.norm() for w, x in zip(weights, vectors, strict=True))


def karcher(vectors: Sequence[Tensor], max_iter: int, tol: float) -> Tensor:
    """On whole tensors, in float64."""
    units = [x.double() / x.double().norm() for x in vectors]
    mean = sum(units) / sum(units).norm()
    for _ in range(max_iter):
        tangent = torch.zeros_like(mean)
        for unit in units:
            angle = torch.acos((mean * unit).sum().clamp(-1, 1))
            if angle > tol:
                tangent += angle / torch.sin(angle) * (unit - torch.cos(angle) * mean) / len(units)
        if tangent.norm() <= tol:
            break
        mean = torch.cos(tangent.norm()) * mean + torch.sin(tangent.norm()) * tangent / tangent.norm()
    return mean * sum(x.double().norm() for x in vectors) / len(vectors)


def model_stock(base: Tensor, taus: Sequence[Tensor], filter_wise: bool) -> Tensor:
    if filter_wise:
        rows = zip(base, *taus, strict=True)
        return torch.stack([model_stock(row, parts, False) for row, *parts in rows])
    pairs = [(a, b) for i, a in enumerate(taus) for b in taus[i + 1 :]]
    cosine = sum((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-6) for a, b in pairs) / len(pairs)
    t = len(taus) * cosine / (1 + (len(taus) - 1) * cosine)
    return t * sum(base.double() + tau for tau in taus) / len(taus) + (1 - t) * base.double()


def sce(base: Tensor, taus: Tensor, mask: Tensor) -> Tensor:
    taus = taus * mask
    energy = taus.square().flatten(1).mean(1)
    weights = energy / energy.sum() if energy.sum() >= 1e-6 else torch.full_like(energy, 1 / len(taus))
    sign = torch.where(taus.sum(0) >= 0, 1.0, -1.0)
    erased = weights.view(-1, *[1] * base.dim()) * (taus.sign() == sign)
    return base.double() + (erased * taus).sum(0) / erased.sum(0).clamp(min=1e-6)


def keep_varying(variance: Tensor, topk: float) -> Tensor:
    k = int(int(variance.count_nonzero()) * topk)
    order = torch.sort(variance.reshape(-1), descending=True, stable=True).indices
    mask = torch.zeros(variance.numel(), dtype=torch.float64)
    mask[order[:k]] = 1
    return (mask if topk < 1 else torch.ones_like(mask)).reshape(variance.shape)


def fusion_scores(base: Tensor, expert: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """Importance of every entry and its threshold."""
    p, q = (torch.softmax(x.double(), -1) + 1e-8 for x in (expert, base))
    divergence = (p * (p / q).log()).sum(-1, keepdim=True).clamp(min=0).float().double()
    scores = tau.abs().double() * divergence
    ordered = scores.reshape(-1).sort().values
    first, median, third = (ordered[int(q * (len(ordered) - 1))] for q in (0.25, 0.5, 0.75))
    return scores, median + 1.5 * (third - first)


def ram(base: Tensor, taus: Tensor, active: Tensor, r: float = 0.0, alpha: float = 0.0) -> Tensor:
    count = active.sum(0)
    result = base.double().clone()
    for tau, mask in zip(taus, active, strict=True):
        shared, unique = (mask & (count > 1)).sum(), (mask & (count == 1)).sum()
        gain = 1 + r * min(float(shared / max(1, unique)), alpha)
        result += torch.where(mask & (count == 1), gain * tau, 0.0)
        result += torch.where(mask & (count > 1), tau / count.clamp(min=1), 0.0)
    return result


def magmax(taus: Tensor) -> Tensor:
    return taus.gather(0, taus.abs().argmax(0, keepdim=True))[0]


def consensus(taus: Tensor, mask_lambda: float, agreement: int) -> Tensor:
    merged = taus.sum(0)
    return torch.where(sum((t.abs() > mask_lambda * (merged - t).abs()).int() for t in taus) >= agreement, merged, 0.0)


def emr(taus: Tensor) -> Tensor:
    sign = taus.sum(0).sign()
    return sign * torch.where(taus * sign > 0, taus.abs(), 0.0).amax(0)


def pcb(taus: Tensor, top: float, outliers: float) -> Tensor:
    def normed(x: Tensor) -> Tensor:
        low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
        return (x - low) / (high - low)

    flat = taus.reshape(len(taus), -1)
    size = flat.shape[1]
    ordered, cut = flat.abs().sort(dim=1).values, int(size * outliers)
    magnitude = flat.abs().clamp(ordered[:, cut, None], ordered[:, size - 1 - cut, None])
    balance = torch.exp(len(taus) * normed(magnitude) ** 2) * torch.tanh(flat * flat.sum(0))
    floor = balance.sort(dim=1).values[:, int(size * (1 - top)), None]
    share = normed(balance.maximum(floor))
    return torch.where(share.sum(0) > 1e-12, (share * flat.sign() * magnitude).sum(0) / share.sum(0), 0.0).view(
        taus.shape[1:]
    )


def polar(x: Tensor) -> Tensor:
    u, _, vt = torch.linalg.svd(x, full_matrices=False)
    return u @ vt


def iso_c(taus: Tensor) -> Tensor:
    return torch.linalg.svdvals(taus.sum(0)).mean() * polar(taus.sum(0))


def iso_cts(taus: Tensor, fraction: float) -> Tensor:
    full = min(taus.shape[1:])
    each = round((full - int(full * fraction)) / len(taus))
    u, s, vt = torch.linalg.svd(taus.sum(0), full_matrices=False)
    common = full - each * len(taus)
    us, ss, vts = [u[:, :common]], [s[:common]], [vt[:common]]
    for tau in taus:
        u_own, s_own, vt_own = torch.linalg.svd(tau - us[0] @ us[0].T @ tau, full_matrices=False)
        us, ss, vts = [*us, u_own[:, :each]], [*ss, s_own[:each]], [*vts, vt_own[:each]]
    return torch.cat(ss).mean() * polar(torch.cat(us, 1)) @ polar(torch.cat(vts, 0))


def tsv_m(taus: Tensor) -> Tensor:
    each = min(taus.shape[1:]) // len(taus)
    parts = [torch.linalg.svd(tau, full_matrices=False) for tau in taus]
    left = polar(torch.cat([u[:, :each] for u, _, _ in parts], 1))
    right = polar(torch.cat([vt[:each] for _, _, vt in parts], 0))
    return left @ torch.diag(torch.cat([s[:each] for _, s, _ in parts])) @ right


def wudi(taus: Tensor, steps: int, learning_rate: float) -> Tensor:
    """By automatic differentiation and torch's Adam."""
    tau = torch.nn.Parameter(taus.sum(0))
    adam = torch.optim.Adam([tau], lr=learning_rate)
    for _ in range(steps):
        adam.zero_grad()
        sum((((tau - t) @ t.T) ** 2).sum() / (t**2).sum() for t in taus).backward()
        adam.step()
    return tau.detach()


def wudi_exact(taus: Tensor, ridge: float) -> Tensor:
    products = [t.T @ t / (t**2).sum() for t in taus]
    curvature = sum(products)
    penalty = ridge * curvature.trace() / len(curvature) * torch.eye(len(curvature), dtype=torch.float64)
    return sum(t @ a for t, a in zip(taus, products, strict=True)) @ torch.linalg.inv(curvature + penalty)
