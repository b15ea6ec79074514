"""What the neurons of a live model see on the owner's text: one streamed pass, a smallest and a largest value each.

    lo_i = min_x z_i(x),   hi_i = max_x z_i(x),   z = gate x + bias,    no quantiles: what is clipped is an error later
    mid = (lo + hi) / 2,   half = max(1.1 (hi - lo) / 2, 1e-3)              a margin of 5 % on each side

Source: arXiv 2511.10712 (the middle of the range on data), arXiv 2410.05331.  We differ: the half-width is used
too, and what the table says of a network is tried on the live module before it is believed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Final

from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch
from mergebarrier.numerics import polynomials
from mergebarrier.symmetry import FeedForward, feed_forward

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mergebarrier.circuits import Architecture
    from mergebarrier.modeling_mergebarrier import Activation

#: Arguments of a forward pass.
Inputs = Mapping[str, "Tensor"]
_MARGIN: Final = 1.1
_NARROWEST, _WIDEST = 1e-3, 1e3
#: Largest relative difference of a network's answer from that of the three maps that the table calls so.
_ALIKE: Final = 1e-3


@dataclass(kw_only=True)
class Network:
    """A feed-forward network of a live model.

    Attributes:
      path:       of its module; ``module`` is it.
      stored:     where the table finds its parts; ``parts`` are those of the live module.
      replaces:   names of its tensors within the module, in the order of the table.
      activation: a key of ``ACTIVATIONS``.
      gate:       the module that gives z, where one gives nothing else.
      low, high:  Float32[Tensor, "neurons"], what was seen so far.
      outside:    how many values left that range later, of those ``seen`` then.
    """

    path: str
    module: "nn.Module"
    stored: FeedForward
    replaces: tuple[str, ...]
    activation: "Activation"
    parts: Mapping[str, "Tensor"]
    gate: "nn.Module | None" = None
    low: "Tensor | None" = None
    high: "Tensor | None" = None
    outside: int = 0
    seen: int = 0

    def widen(self, z: "Tensor") -> None:
        """Take values into the range."""
        low, high = z.amin(0), z.amax(0)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)

    def count(self, z: "Tensor") -> None:
        """Count values outside the range."""
        assert self.low is not None and self.high is not None
        self.outside += int(((z < self.low) | (z > self.high)).sum())
        self.seen += z.numel()

    def ranges(self) -> "tuple[Tensor, Tensor]":
        """Return middles and half-widths, Float64[Tensor, "neurons"] each.

        Raises: MethodRefused for values that are not finite, or a range that no polynomial follows.
        """
        assert self.low is not None and self.high is not None
        low, high = self.low.double(), self.high.double()
        half = (_MARGIN * (high - low) / 2).clamp_min(_NARROWEST)
        if not bool(torch.isfinite(low + high).all()) or float(half.max()) > _WIDEST:
            what = f"on the text its neurons see values up to {float(half.max()):.3g}"
            raise MethodRefused(what, where=self.path, remedy="give ordinary prose, or leave --ffn out")
        return (low + high) / 2, half


def networks(architecture: "Architecture", module: "nn.Module") -> list[Network]:
    """Return the feed-forward networks of a model that are modules of their own and compute what the table says.

    Raises: MethodRefused where there is none, with the reason.
    """
    names = {architecture.table.canonical(name): name for name, _ in module.named_parameters()}
    found, reasons = [], dict[str, None]()
    for circuit in architecture.circuits:
        stored = feed_forward(circuit)
        if stored is None:
            continue
        live = [names[f"{stem}.weight"].removesuffix(".weight") for stem in stored.stems]
        parents = {name.rpartition(".")[0] for name in live}
        if len(parents) > 1:
            reasons["its maps lie in several modules"] = None
            continue
        (path,) = parents
        one = _network(path, module, stored, tuple(name.rpartition(".")[2] for name in live))
        if isinstance(one, str):
            reasons[one] = None
        else:
            found.append(one)
    if not found:
        none = "they are polynomials already" if architecture.stands_for else "it has none of two or three plain maps"
        reason = next(iter(reasons), none)
        raise MethodRefused(
            f"no feed-forward network of this {architecture.family} model can be replaced: {reason}",
            where="--ffn poly", remedy="leave --ffn out: the attention part acts alone",
        )  # fmt: skip
    return found


def _network(path: str, module: "nn.Module", stored: FeedForward, maps: tuple[str, ...]) -> Network | str:
    """Return a network, or why it cannot be replaced."""
    part = module.get_submodule(path)
    ours = {f"{child}.{kind}" for child in maps for kind in ("weight", "bias")}
    if any(name not in ours for name, _ in part.named_parameters()):
        return "its maps share a module with others"
    if len([one for one in signature(part.forward).parameters.values() if one.default is one.empty]) != 1:
        return "its module reads more than the stream"
    functions = [one for one in part.children() if not list(one.parameters()) and not isinstance(one, torch.nn.Dropout)]
    named = [polynomials.activation_of(one) for one in functions]
    activation = next((name for name in named if name is not None), None)
    if activation is None:
        what = ", ".join(type(one).__name__ for one in functions) or "none of its own"
        return f"its activation ({what}) is not smooth, or not known here"
    live = dict(part.named_parameters())
    stems = dict(zip(stored.stems, maps, strict=True))
    names = {
        member.name: f"{stems[member.stem]}.{member.canonical.rpartition('.')[2]}"
        for member in stored.circuit.members
        if member.name in stored.tensors
    }
    parts = stored.parts({name: live[own].detach() for name, own in names.items()})
    x = torch.linspace(-2, 2, 3 * parts["gate"].shape[1]).cos().mul(7).sin().reshape(3, -1).to(parts["gate"].dtype)
    if not _alike(part, x[None], _computed(x, parts, activation)[None]):
        return "its module computes something else than its maps"
    (gate,) = {name for (name, _), role in stored.places.items() if role == "gate"}
    child = part.get_submodule(names[gate].rpartition(".")[0])
    return Network(
        path=path, module=part, stored=stored, replaces=tuple(names.values()), activation=activation, parts=parts,
        gate=child if _alike(child, x, _mapped(x, parts, "gate")) else None,
    )  # fmt: skip


def _computed(x: "Tensor", parts: Mapping[str, "Tensor"], activation: "Activation") -> "Tensor":
    """Return down(act(gate x) * up x)."""
    from mergebarrier.modeling_mergebarrier import ACTIVATIONS

    hidden = ACTIVATIONS[activation](_mapped(x, parts, "gate"))
    hidden = hidden * _mapped(x, parts, "up") if "up" in parts else hidden
    return hidden @ parts["down"] + parts.get("down_bias", 0)


def _alike(module: "nn.Module", x: "Tensor", ours: "Tensor") -> bool:
    """Whether a module gives what the table says, on three inputs."""
    with torch.no_grad():
        theirs = module(x)
    same = isinstance(theirs, torch.Tensor) and theirs.shape == ours.shape
    return same and float((theirs - ours).norm()) <= _ALIKE * float(ours.norm())


def _mapped(x: "Tensor", parts: Mapping[str, "Tensor"], name: str) -> "Tensor":
    return x @ parts[name].mT + parts.get(f"{name}_bias", 0)


@contextmanager
def watching(found: Iterable[Network], *, counting: bool = False) -> Iterator[None]:
    """Widen ranges by what the networks of a model read meanwhile; or, when counting, count what leaves them."""
    with ExitStack() as stack:
        for one in found:
            take = one.count if counting else one.widen
            if one.gate is not None:
                stack.callback(one.gate.register_forward_hook(partial(_given, take)).remove)
            else:
                stack.callback(one.module.register_forward_pre_hook(partial(_seen, one, take)).remove)
        yield


def _given(take: "Callable[[Tensor], None]", gate: "nn.Module", inputs: "tuple[Tensor, ...]", z: "Tensor") -> None:
    del gate, inputs
    take(z.flatten(0, -2).float())


def _seen(one: Network, take: "Callable[[Tensor], None]", module: "nn.Module", inputs: "tuple[Tensor, ...]") -> None:
    del module
    take(_mapped(inputs[0].flatten(0, -2), one.parts, "gate").float())
