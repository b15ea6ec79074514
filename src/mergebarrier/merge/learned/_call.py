"""A module around a module: its forward is any callable on the module inside."""

from collections.abc import Callable

from torch import Tensor, nn


class Call(nn.Module):
    """Run ``outputs(inner, batch)``, so that torch can put other weights into ``inner`` for the time of the call."""

    def __init__(self, inner: nn.Module) -> None:
        """Take the module inside, in evaluation mode."""
        super().__init__()
        self.inner = inner
        self.eval()

    def forward(self, outputs: Callable[[nn.Module, object], Tensor], batch: object) -> Tensor:
        """Return what the callable makes of the module inside and a batch."""
        return outputs(self.inner, batch)
