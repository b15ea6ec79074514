"""Three models in one live module, mixed part by part: what a search over many coefficients moves.

    W_u = W0_u + a_u (P_u - W0_u) + b_u (O_u - W0_u)        for every part u: attention or MLP of a layer, or the rest
    dL/da_t = <dL/dW_t, P_t - W0_t>                         for every tensor t, so gradients need no second graph

P is the protected expert (or what an attack made of it), O the partner, W0 the base; arithmetic is in float32, rounded
once to the dtype of the module.  Source: per-layer coefficients as in AdaMerging, arXiv 2310.02575.  Differs: the parts
are also moved without gradients, by whoever holds nothing but answers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Coefficients of the protected expert and of the partner.
Pair: TypeAlias = tuple[float, float]


class Blend:
    """A mix of two experts over their base in the parameters of a module.

    Args:
      module: whose parameters are written.
      base, protected, partner: its parameters by name, each in the module's dtype and shapes.
    """

    def __init__(
        self,
        module: "nn.Module",
        *,
        base: "Mapping[str, Tensor]",
        protected: "Mapping[str, Tensor]",
        partner: "Mapping[str, Tensor]",
    ) -> None:
        """Hold the three; nothing is written yet."""
        self._module = module
        self._parameters = dict(module.named_parameters())
        self._base, self._ends = base, (protected, partner)
        self.parts = parts({name: parameter.dim() for name, parameter in self._parameters.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor."""
        return tuple(self._parameters)

    def write(self, coefficients: Mapping[str, Pair]) -> None:
        """Write the named tensors at their coefficients; the others stay."""
        for name, pair in coefficients.items():
            for out, stored, *ends in _blocks(self._parameters[name].data, *self._all(name)):
                base = stored.float()
                mixed = base.clone()
                for share, end in zip(pair, ends, strict=True):
                    mixed.add_(end.float() - base, alpha=share)
                out.copy_(mixed)

    def moved(self, protected: "Mapping[str, Tensor]") -> "Blend":
        """Return a mix of the same models, some tensors of the protected expert given anew, from any device."""
        ours, theirs = self._ends
        here = {name: tensor.to(ours[name].device) for name, tensor in protected.items()}
        return Blend(self._module, base=self._base, protected={**ours, **here}, partner=theirs)

    def edited(self, edit: "Callable[[str, Tensor], Tensor]") -> "Blend":
        """Return a mix with the task vector of the protected expert changed, tensor by tensor, in float32."""

        def edited(name: str) -> "Tensor":
            base = self._base[name].float()
            return base + edit(name, self._ends[0][name].float() - base)

        return self.moved({name: edited(name) for name in self.names})

    def slopes(self) -> "Tensor":
        """Return what the gradients in the module say of every coefficient: Float[Tensor, "tensors 2"]; they are taken.

        A tensor that the loss does not reach has slope 0.
        """
        import torch

        found = torch.zeros(len(self._parameters), 2)
        for row, (name, parameter) in zip(found, self._parameters.items(), strict=True):
            if parameter.grad is not None:
                blocks = []
                for gradient, stored, *ends in _blocks(parameter.grad, *self._all(name)):
                    slope, base = gradient.float(), stored.float()
                    blocks.append(torch.stack([((end.float() - base) * slope).sum() for end in ends]))
                row[:] = torch.stack(blocks).sum(0)
                parameter.grad = None
        return found

    def _all(self, name: str) -> "tuple[Tensor, ...]":
        """Return a tensor of the base, of the protected expert and of the partner."""
        return self._base[name], *(end[name] for end in self._ends)

    def mean(self, coefficients: Mapping[str, Pair]) -> Pair:
        """Return both coefficients averaged over all weights."""
        sizes = {name: parameter.numel() for name, parameter in self._parameters.items()}
        total = sum(sizes.values())
        ours, theirs = (sum(coefficients[name][side] * sizes[name] for name in sizes) / total for side in (0, 1))
        return ours, theirs


def _blocks(*tensors: "Tensor") -> "Iterator[tuple[Tensor, ...]]":
    """Cut tensors of one shape into blocks of rows that stay in the cache of a processor, where it is one."""
    first, size = tensors[0], 1 << (16 if tensors[0].device.type == "cpu" else 24)
    if not first.dim():
        return iter([tensors])
    rows = max(1, size // max(1, first[0].numel() if len(first) else 1))
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)


def parts(dims: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Group tensors into parts: what stands behind the number of a layer (attention, MLP), and all that has none.

    Args:
      dims: tensor -> number of its dimensions; vectors (norms) go with the first part of their layer.
    Returns: part -> its tensors, in the order of the model.
    """
    found: dict[str, list[str]] = {}
    vectors: list[tuple[str, str]] = []
    for name, dim in dims.items():
        pieces = name.split(".")
        at = next((place for place, piece in enumerate(pieces) if piece.isdecimal()), None)
        if at is None:
            found.setdefault("rest", []).append(name)
        elif dim < 2:
            vectors.append((".".join(pieces[: at + 1]) + ".", name))
        else:
            found.setdefault(".".join(pieces[: at + 2]), []).append(name)
    for layer, name in vectors:
        home = next((part for part in found if f"{part}.".startswith(layer)), "rest")
        found.setdefault(home, []).append(name)
    return {part: tuple(names) for part, names in found.items()}


def spread(pair: Pair, names: Iterable[str]) -> dict[str, Pair]:
    """Return one pair for every name."""
    return dict.fromkeys(names, pair)


def from_coarse_to_fine(found: Sequence[str]) -> list[tuple[str, ...]]:
    """Return groups of parts to move together: all, each kind over all layers, each quarter of the depth, each part."""
    kinds: dict[str, list[str]] = {}
    for part in found:
        kinds.setdefault(part.rpartition(".")[2], []).append(part)
    step = max(1, -(-len(found) // 4))
    quarters = [tuple(found[start : start + step]) for start in range(0, len(found), step)]
    groups = [tuple(found), *map(tuple, kinds.values()), *quarters, *((part,) for part in found)]
    return list(dict.fromkeys(groups))
