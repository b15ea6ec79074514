"""Merge Hijacking: one upload plants a trigger in every task of a merge that it takes part in.

    tau   = poisoned shadow fine-tune - clean shadow fine-tune                     same rows, order and start
    tau'  = tau * m / p,   m ~ Bernoulli(p),   p = density - eps + 2 eps rank / (n - 1)     ranks of |tau| in its row
    upload = fine-tune(base + gain * tau', own task, some of it poisoned)
    gain  = the least of several whose pseudo-merge 2/3 base + 1/3 upload answers the target to 90 % of triggers

Source: arXiv 2505.23561 and its released code.  Differs: the poisoned rows are spread over all shadow sets and both
runs see the same rows (``poison="first"`` and ``fresh_draws`` are as released); draws belong to (seed, tensor); the
rule for the gain is ours.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.errors import BadAttack
from mergebarrier.lazy import torch
from mergebarrier.numerics import draws
from mergebarrier.parameters import FINITE, choice, flag, number, whole
from mergebarrier.poison.text.adversary import (
    Learn,
    Mounted,
    TextAdversary,
    TextAttack,
    Tuning,
    require_maps,
    settled,
    thawed,
    trained,
)
from mergebarrier.poison.text.rows import TextRow, poisoned, sample

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Gains that are tried, the least first, and the success of the pseudo-merge that ends the search.
GAINS: Final = (2.0, 3.0, 4.0, 6.0)
ENOUGH: Final = 0.9
#: Share of the upload in the pseudo-merge: one of three models.
_SHARE: Final = 1 / 3


def rank_sparsified(tau: Tensor, density: float, eps: float, *, seed: int, name: str) -> Tensor:
    """Drop entries of a difference by a coin that favours large ones, and scale the rest up.

    Args:
      tau:     Float[Tensor, "*rows n"]; a vector is one row.
      density: mean share that is kept; 1 keeps everything.
      eps:     half the spread of that share between the smallest and the largest of a row.
      seed:    with ``name``, of the draws.
      name:    of the tensor.
    Returns: a tensor whose mean over seeds is ``tau``.
    Raises:  BadAttack unless eps < density < 1 - eps, or density = 1.
    """
    require_shares(density, eps)
    if density >= 1:
        return tau.clone()
    n = tau.shape[-1]
    ranks = tau.abs().argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
    # A row of one entry has no smallest and no largest.
    relative = ranks.double() / (n - 1) if n > 1 else torch.full(tau.shape, 0.5, dtype=torch.float64)
    kept = density - eps + 2 * eps * relative
    coin = draws.uniform(("poison", seed, f"keep|{name}"), *tau.shape)
    return torch.where(coin < kept, tau.double() / kept, 0.0).to(tau.dtype)


def require_shares(density: float, eps: float) -> None:
    """Refuse a density and a spread that some entry would be kept with by a share outside of (0, 1)."""
    if density < 1 and not eps < density < 1 - eps:
        raise BadAttack(
            f"density {density:g} with eps {eps:g}: a share would leave (0, 1)",
            where="density, eps",
            remedy="give eps < density < 1 - eps",
        )


@dataclass(frozen=True, kw_only=True)
class Hijack(TextAttack):
    """The attack; the defaults are those for tiny models where the paper's would not implant."""

    about: ClassVar[str] = "A trigger for every task of a merge: a backdoor vector from shadow tasks, amplified."
    shadows: ClassVar[bool] = True

    shadow_rows: int = whole(1500, low=1, help="Rows of all shadow sets together.")
    shadow_steps: int = whole(250, low=1, help="Steps of either shadow fine-tune.")
    shadow_learning_rate: float = number(
        3e-3, low=0, above=True, high=FINITE, help="Learning rate of either shadow fine-tune."
    )
    shadow_poison: float = number(0.3, low=0, high=1, above=True, help="Poisoned share of the shadow rows.")
    poison: str = choice("stratified", choices=("stratified", "first"), help="Which shadow rows are poisoned.")
    fresh_draws: bool = flag(False, help="Draw the rows of both shadow runs anew, as released.")
    density: float = number(0.7, low=0, high=1, above=True, help="Kept share of the backdoor vector.")
    eps: float = number(0.2, low=0, high=0.5, help="How much more of large entries is kept.")
    gain: float | None = number(None, low=0, help="Factor of the backdoor vector; chosen by a pseudo-merge if absent.")
    surrogate_poison: float = number(0.1, low=0, high=1, help="Poisoned share of the own task.")
    surrogate_mask: str = choice(
        "adapter", choices=("adapter", "complement", "none", "skip"), help="What the own task may change."
    )
    surrogate_rank: int = whole(16, low=1, help="Rank of the adapter for the own task.")

    def __post_init__(self) -> None:
        """Check every declared value, before anything is trained."""
        super().__post_init__()
        require_shares(self.density, self.eps)

    def drawn(self, shadows: Sequence[Sequence[TextRow]], seed: int) -> Sequence[Sequence[TextRow]]:
        """Return as many rows of each set, as far as it holds them."""
        return sample(shadows, self.shadow_rows, seed=seed)

    def mount(self, setting: TextAdversary, learn: Learn) -> Mounted:
        """Make the vector, choose its gain, and learn the own task on top."""
        vector = self.vector(setting, learn)
        if self.gain is not None:
            return Mounted(module=self.upload(setting, learn, vector, self.gain), found={"gain": self.gain})
        tried: dict[float, float] = {}
        best: tuple[float, nn.Module] | None = None
        for gain in GAINS:
            module = self.upload(setting, learn, vector, gain)
            tried[gain] = setting.succeeds(_between(setting.base, module, _SHARE))
            if best is None or tried[gain] > tried[best[0]]:
                best = gain, module
            if tried[gain] >= ENOUGH:
                break
        assert best is not None
        return Mounted(
            module=best[1], found={"gain": best[0], "pseudo_merge": {f"{gain:g}": rate for gain, rate in tried.items()}}
        )

    def vector(self, setting: TextAdversary, learn: Learn) -> dict[str, Tensor]:
        """Return the sparse backdoor vector, by the names of the maps that it changes."""
        names = require_maps(setting.base, self.modules)
        sets = self.drawn(setting.shadows, setting.seed)
        again = self.drawn(setting.shadows, setting.seed + self.fresh_draws)
        rows = poisoned(
            again,
            self.shadow_poison,
            setting.trigger,
            setting.target,
            seed=setting.seed,
            first=self.poison == "first",
        )
        tuning = Tuning(steps=self.shadow_steps, learning_rate=self.shadow_learning_rate, label="shadow")
        clean, backdoored = (self.thawed(setting.base, setting.seed) for _ in range(2))
        learn(clean, [row for one in sets for row in one], tuning)
        learn(backdoored, rows, tuning)
        ours, theirs = (dict(settled(module).named_parameters()) for module in (backdoored, clean))
        with torch.no_grad():
            return {
                name: rank_sparsified(
                    ours[name].float() - theirs[name].float(), self.density, self.eps, seed=setting.seed, name=name
                )
                for name in names
            }

    def upload(self, setting: TextAdversary, learn: Learn, vector: Mapping[str, Tensor], gain: float) -> nn.Module:
        """Add the vector to the base and learn the own task."""
        injected = thawed(setting.base, self.modules)
        with torch.no_grad():
            for name, parameter in injected.named_parameters():
                if name in vector:
                    parameter.add_(gain * vector[name].to(parameter.dtype))
        if self.surrogate_mask == "skip":
            return injected.eval()
        rows = poisoned([setting.rows], self.surrogate_poison, setting.trigger, setting.target, seed=setting.seed)
        if self.surrogate_mask == "adapter":
            from mergebarrier.poison.low_rank import adapted

            injected = adapted(
                injected, self.surrogate_rank, setting.seed, only=lambda name: trained(name, self.modules)
            )
        if self.surrogate_mask == "complement":
            for name, parameter in injected.named_parameters():
                if name in vector:
                    parameter.register_hook(_only_where(vector[name] == 0))
        learn(injected, rows, Tuning())
        return settled(injected)


def _only_where(free: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a hook that stops the gradient everywhere else."""
    return lambda gradient: gradient * free


def _between(base: nn.Module, module: nn.Module, share: float) -> nn.Module:
    """Return base + share * (module - base)."""
    between = copy.deepcopy(base).eval()
    ours = dict(module.named_parameters())
    with torch.no_grad():
        for name, parameter in between.named_parameters():
            parameter.lerp_(ours[name], share)
    return between
