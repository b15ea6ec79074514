"""Hidden neurons have no order, and in a gated MLP none has a scale of its own.

Rows of gate and up (or fc1) and columns of down (or fc2) move together; up may be scaled by any s != 0 that down
divides out, since the gate's activation does not see it.  The gate itself is never scaled, and behind GELU there is no
scale.

    up_i <- s_i up_i,  down_i <- down_i / s_i,  then new[j] = old[perm[j]]

Matching: cos(gate) + |cos(up)| + |cos(down)| per pair of neurons; scale by Newton on the joint squared distance
A t^2 - 2 B t + C / t^2 - 2 E / t with t = 1/s.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mergebarrier.symmetry import draw as maps
from mergebarrier.symmetry.linear import flip_signs, take_columns
from mergebarrier.symmetry.space import SNAP_TOLERANCE, Draw, Tensors, replaced, with_bias

_BLOCK_ELEMENTS = 1 << 18


@dataclass(frozen=True)
class NeuronMap:
    """Scale first, then reorder.

    Attributes:
      perm: Int64[Tensor, "n"]; scale: Float64[Tensor, "n"], on the old order.
    """

    perm: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Neurons:
    """Orders of neurons, and scales where the MLP is gated."""

    width: int
    gated: bool

    def identity(self) -> NeuronMap:
        """Return the element that moves nothing."""
        return NeuronMap(torch.arange(self.width), torch.ones(self.width, dtype=torch.float64))

    def sample(self, draw: Draw, *, profile: str, condition: float) -> NeuronMap:
        """Draw from purposes ``perm``, ``sign`` (gated) and ``scale`` (gated, full)."""
        perm = torch.from_numpy(maps.permutation(draw("perm"), self.width))
        scale = torch.ones(self.width, dtype=torch.float64)
        if self.gated:
            scale = torch.from_numpy(maps.signs(draw("sign"), self.width))
            if profile == "full":
                scale = scale * torch.from_numpy(maps.scales(draw("scale"), self.width, condition))
        return NeuronMap(perm, scale)

    def act(self, element: NeuronMap, tensors: Tensors) -> dict[str, Tensor]:
        """Scale and reorder; float64 out for up and down unless all scales are signs or the weights have 16 bits."""
        rows = ("gate", "up") if self.gated else ("fc1",)
        columns = "down.weight" if self.gated else "fc2.weight"
        changes = {
            f"{role}.{kind}": tensors[f"{role}.{kind}"].index_select(0, element.perm)
            for role in rows
            for kind in ("weight", "bias")
            if f"{role}.{kind}" in tensors
        }
        if columns in tensors:
            changes[columns] = take_columns(tensors[columns], element.perm)
        scale = element.scale[element.perm]
        if bool((scale == 1).all()):
            return replaced(tensors, changes)
        for name in ("up.weight", "up.bias", columns):
            if name in changes:
                factor = 1.0 / scale if name == columns else scale
                factor = factor[:, None] if changes[name].ndim == 2 and name != columns else factor
                if self.bit_exact(element):
                    flip_signs(changes[name], factor)
                else:
                    changes[name] = _scaled(changes[name], factor)
        return replaced(tensors, changes)

    def inverse(self, element: NeuronMap) -> NeuronMap:
        """Return the inverse: reorder back, divide the scale out."""
        back = torch.argsort(element.perm)
        return NeuronMap(back, (1.0 / element.scale)[element.perm])

    def compose(self, after: NeuronMap, before: NeuronMap) -> NeuronMap:
        """Return ``after`` behind ``before``."""
        scale = before.scale.clone()
        scale[before.perm] *= after.scale
        return NeuronMap(before.perm[after.perm], scale)

    def estimate(self, tensors: Tensors, anchor: Tensors) -> NeuronMap:
        """Match neurons by cosine, then fit the scales; signs alone when every scale is within .15 of one.

        Raises: nothing; silent neurons (zero rows) match in index order with scale 1.
        """
        if not self.gated:
            first = cosines(with_bias(tensors, "fc1"), with_bias(anchor, "fc1"))
            second = cosines(tensors["fc2.weight"].T, anchor["fc2.weight"].T)
            return NeuronMap(assign(first + second), torch.ones(self.width, dtype=torch.float64))
        score = cosines(with_bias(tensors, "gate"), with_bias(anchor, "gate"))
        score += cosines(with_bias(tensors, "up"), with_bias(anchor, "up")).abs_()
        score += cosines(tensors["down.weight"].T, anchor["down.weight"].T).abs_()
        perm = assign(score)
        up, down = with_bias(tensors, "up"), tensors["down.weight"].T.double()
        up0, down0 = with_bias(anchor, "up")[perm], anchor["down.weight"].T.double()[perm]
        t = _fit_scale(up, up0, down, down0)
        sign = torch.where(t < 0, -1.0, 1.0).double()
        t = sign if bool(((t - sign).abs() < SNAP_TOLERANCE).all()) else t
        scale = torch.ones(self.width, dtype=torch.float64)
        scale[perm] = 1.0 / t
        return NeuronMap(perm, scale)

    def invariants(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return sorted norms per neuron that order and scale leave alone."""
        if not self.gated:
            joint = with_bias(tensors, "fc1").norm(dim=1) * tensors["fc2.weight"].double().norm(dim=0)
            return {"neurons": joint.sort().values}
        gate = with_bias(tensors, "gate").norm(dim=1)
        joint = with_bias(tensors, "up").norm(dim=1) * tensors["down.weight"].double().norm(dim=0)
        return {"gate": gate.sort().values, "up_down": joint.sort().values}

    def bit_exact(self, element: NeuronMap) -> bool:
        """True when every scale is a sign."""
        return bool((element.scale.abs() == 1).all())


def _scaled(tensor: Tensor, factor: Tensor) -> Tensor:
    """Multiply by a float64 factor that broadcasts: in float64, or, for 16-bit weights, block by block in place.

    There the product is taken in float32, exact enough to be rounded once, and no wide copy of a whole matrix is held.
    """
    if tensor.element_size() > 2:
        return tensor.double() * factor
    step = max(1, _BLOCK_ELEMENTS // max(1, tensor[0].numel()))
    factors = factor.float().expand(tensor.shape)
    for rows, scale in zip(tensor.split(step), factors.split(step), strict=True):
        rows.copy_(rows.float().mul_(scale))
    return tensor


def cosines(now: Tensor, then: Tensor) -> Tensor:
    """Return cosines of rows, Float32[Tensor, "n n"]; a zero row gives 0."""
    now, then = (side.float() / side.float().norm(dim=1, keepdim=True).clamp_min(1e-30) for side in (now, then))
    return now @ then.T


def assign(score: Tensor) -> Tensor:
    """Return perm with new neuron j = anchor neuron perm[j]: the arg-max where it is a bijection, else Hungarian."""
    best = score.argmax(dim=1)
    if len(torch.unique(best)) == len(best):
        return best
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(score.numpy(), maximize=True)[1])


def _fit_scale(up: Tensor, up0: Tensor, down: Tensor, down0: Tensor) -> Tensor:
    """Return t that minimises |t up' - up0|^2 + |down'/t - down0|^2 per neuron, Float64[Tensor, "n"]."""
    a, b = up.square().sum(1), (up * up0).sum(1)
    c, e = down.square().sum(1), (down * down0).sum(1)
    usable = (a > 0) & (c > 0) & (b != 0)
    t = torch.where(usable, up0.square().sum(1) / torch.where(usable, b, 1.0), 1.0)
    for _ in range(30):
        gradient = a * t - b - c / t**3 + e / t**2
        curvature = a + 3 * c / t**4 - 2 * e / t**3
        step = torch.where(curvature > 0, gradient / curvature, 0.0)
        t = t - torch.where(usable, step.clamp(-t.abs() / 2, t.abs() / 2), 0.0)
    return t
