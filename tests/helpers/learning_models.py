"""A small network, experts of it and their data, for merges that learn; and float64 references from the formulas."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mergebarrier.merge import TaskData

WIDTH, CLASSES = 6, 3


class Net(nn.Module):
    """Two linear maps about a norm, then a head; ``embed`` moves the input so that not all is linear."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.zeros(WIDTH))
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES, bias=False)
        self.to(dtype).eval()

    def forward(self, rows: Tensor) -> Tensor:
        hidden = rows + self.embed
        for layer in self.layers:
            hidden = hidden + torch.tanh(layer(hidden))
        return self.head(self.norm(hidden))


def logits(module: nn.Module, rows: Tensor) -> Tensor:
    return module(rows)


def models(n_experts: int = 2, dtype: torch.dtype = torch.float32, step: float = 0.1) -> tuple[dict[str, Tensor], Any]:
    """Return a base and experts close to it."""
    generator = torch.Generator().manual_seed(7)
    base = {
        name: (torch.randn(p.shape, generator=generator) * 0.5 + ("norm.weight" in name)).to(dtype)
        for name, p in Net().named_parameters()
    }
    experts = [
        {name: (x + step * torch.randn(x.shape, generator=generator)).to(dtype) for name, x in base.items()}
        for _ in range(n_experts)
    ]
    return base, experts


def data(n_experts: int = 2, n_batches: int = 3, rows: int = 8, dtype: torch.dtype = torch.float32) -> list[TaskData]:
    """Return a task per expert: inputs of a distribution of its own."""
    generator = torch.Generator().manual_seed(11)
    tasks = []
    for i in range(n_experts):
        mix = torch.randn(WIDTH, WIDTH, generator=generator)
        batches = [(torch.randn(rows, WIDTH, generator=generator) @ mix).to(dtype) for _ in range(n_batches)]
        tasks.append(TaskData(f"task {i}", batches, logits))
    return tasks


def loaded(tensors: dict[str, Tensor], dtype: torch.dtype = torch.float64) -> Net:
    """Return the network with these weights."""
    net = Net(dtype)
    net.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()})
    return net


def inputs_of(net: Net, tasks: TaskData) -> dict[str, Tensor]:
    """Return what enters each linear map, all batches together, by writing the forward pass out: float64."""
    rows = torch.cat(list(tasks.batches)).double()
    hidden, seen = rows + net.embed, {}
    for i, layer in enumerate(net.layers):
        seen[f"layers.{i}.weight"] = hidden
        hidden = hidden + torch.tanh(hidden @ layer.weight.T + layer.bias)
    centred = hidden - hidden.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + net.norm.eps).sqrt()
    seen["head.weight"] = normed * net.norm.weight + net.norm.bias
    return {name: x.detach() for name, x in seen.items()}


def regmean(weights: Sequence[Tensor], inputs: Sequence[Tensor], off_diagonal: float, ridge: float) -> Tensor:
    """(sum W_i G_i)(sum G_i)^-1, the diagonal of the sum ridged and each G_i taking its share of that."""
    grams = []
    for x in inputs:
        gram = x.T @ x / len(x)
        grams.append(torch.where(torch.eye(len(gram)) > 0, gram, off_diagonal * gram))
    share = ridge * torch.diag(sum(grams).diagonal()) / len(grams)
    grams = [g + share for g in grams]
    return sum(w.double() @ g for w, g in zip(weights, grams, strict=True)) @ torch.linalg.inv(sum(grams))


def fisher_diagonal(net: Net, task: TaskData) -> dict[str, Tensor]:
    """E_x sum_c p_c (d log p_c / d theta)^2, one row and one class at a time."""
    total = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    rows = torch.cat(list(task.batches)).to(net.embed.dtype)
    for row in rows:
        for c in range(CLASSES):
            log_p = net(row[None]).log_softmax(-1)[0, c]
            gradients = torch.autograd.grad(log_p, list(net.parameters()))
            for (name, _), g in zip(net.named_parameters(), gradients, strict=True):
                total[name] += log_p.exp().detach() * g.square()
    return total
