"""Descend on a loss of the merged model with respect to whatever the merged tensors are made from.

    theta_l = build_l(parameters);   dL/dparameters = sum_l (d theta_l / d parameters)^T dL/d theta_l

The merged tensors enter the module as leaves. As soon as backpropagation has the gradient of one of them it is pulled
back through ``build`` and dropped, so at no time do all gradients, or a graph over all task vectors, exist: memory is
the module, one merged copy, the activations of one batch and a few copies of the largest tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from mergebarrier.errors import NonFinite
from mergebarrier.lazy import torch
from mergebarrier.merge.learned.method import TaskData, run

#: Makes one merged tensor from the parameters that are learned.
Build: TypeAlias = "Callable[[str], torch.Tensor]"
Loss: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the mean entropy of the rows, in nats.

    Example:
      >>> round(float(entropy(torch.zeros(3, 2))), 4)
      0.6931
    """
    log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


def descend(
    module: torch.nn.Module,
    names: Sequence[str],
    build: Build,
    data: Sequence[TaskData],
    step: int,
    loss: Loss = entropy,
) -> float:
    """Add the gradient of sum_t loss(outputs of task t) to the parameters behind ``build``.

    Args:
      module: the architecture.
      names:  tensors to run with; those of the module's parameters that are floats are differentiated.
      build:  makes them; called once without and once per task with gradients, and must give the same both times.
      data:   tasks; each shows batch ``step`` modulo their number.
      step:   of the descent, from 0.
      loss:   of the outputs of one task.
    Returns: the summed loss.
    Raises:  NonFinite naming task and step.
    """
    places, parameters = dict(module.named_buffers()), dict(module.named_parameters())
    with torch.no_grad():
        tensors = {name: build(name).to({**places, **parameters}[name]) for name in names}
    for name in names:
        if name in parameters and tensors[name].is_floating_point():
            leaf = tensors[name].requires_grad_()
            leaf.register_post_accumulate_grad_hook(_pull(build, name))
    total = 0.0
    for task in data:
        value = loss(run(module, tensors, task, task.batches[step % len(task.batches)]))
        if not torch.isfinite(value):
            raise NonFinite(
                f"the loss is {float(value.detach())} at step {step}", where=task.name, remedy="check models and data"
            )
        torch.autograd.backward(value)
        total += float(value.detach())
    return total


def _pull(build: Build, name: str) -> Callable[[torch.Tensor], None]:
    def hook(leaf: torch.Tensor) -> None:
        gradient, leaf.grad = leaf.grad, None
        if gradient is not None:
            with torch.enable_grad():
                made = build(name)
                torch.autograd.backward(made, gradient.to(made))

    return hook
