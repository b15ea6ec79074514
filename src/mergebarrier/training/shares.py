"""A loss at a share of what a model learned: weights of a merge that does not exist, with gradients for the real ones.

theta(a) = base + a (theta - base);      d loss(theta(a)) / d theta = a * loss'(theta(a))
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.func import functional_call


class _Asked(nn.Module):
    """A loss as a module, so that the weights below it can be replaced for one call."""

    def __init__(self, inner: nn.Module, loss: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.inner, self._loss = inner, loss

    def forward(self) -> Tensor:
        """Return the loss of the module inside."""
        return self._loss(self.inner)


def loss_at_share(
    module: nn.Module, base: Mapping[str, Tensor], share: float, loss: Callable[[nn.Module], Tensor]
) -> Tensor:
    """Return a loss of the module thinned to a share of its difference from a base, with its graph.

    Args:
      module: whose parameters the gradient is for.
      base:   by the names of the module's parameters.
      share:  1 is the module itself.
      loss:   of a module.
    """
    if share == 1.0:
        return loss(module)
    mixed = {f"inner.{name}": base[name].lerp(one, share) for name, one in module.named_parameters()}
    thinned: Tensor = functional_call(_Asked(module, loss), mixed, ())
    return thinned
