"""Undo MergeBarrier's polynomials from the file alone: every neuron publishes its column of W_down, N + 1 times.

    column i of W_n = a_n(mid_i, half_i) w_i,  n = 0 .. N       ->   c_i: all a_n, up to one factor
    half_i = argmin |a / |a| - c / |c||,  mid_i = -b_in half_i   ->   w_i = sum a_n W_n / sum a_n^2,  W_gate = half W_in

The activation is public, and the shape of a polynomial of it gives away the range that it was fitted on; with that all
three maps are known.  No key, no base, no data.  What comes back is in the order in which neurons were published (those
that stayed exact behind the others), which ``gaugefix`` puts right.

Source: arXiv 2506.19874 inverts the Taylor form; Chebyshev's is ours.  We differ: a table of shapes for a start, then
Gauss-Newton, on two numbers where the gate has a bias of its own, which nothing else gives away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.checkpoint import OutputFolder
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch
from mergebarrier.parameters import check_values

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit
    from mergebarrier.modeling_mergebarrier import PolynomialBlock, PolynomialPlan
    from mergebarrier.realign.realignment import ParallelMap
    from mergebarrier.symmetry import FeedForward, Tensors

#: Part -> the tensor that holds its neurons which stayed as they were.
_EXACT: Final[Mapping[str, str]] = {
    "gate": "exact_gate_proj.weight", "gate_bias": "exact_gate_proj.bias", "up": "exact_up_proj.weight",
    "up_bias": "exact_up_proj.bias", "down": "exact_down_proj.weight",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """What was found of one network.

    Attributes:
      stock:     the network that it stands for.
      mid, half: Float64[Tensor, "polynomial"], of the ranges.
      off:       Float64[Tensor, "polynomial"]: distance of the published shape from the one that was found.
    """

    stock: FeedForward
    mid: Tensor
    half: Tensor
    off: Tensor


@dataclass(frozen=True, kw_only=True)
class FittedPolynomials:
    """Ranges of every neuron; the weights follow when a circuit comes."""

    plan: PolynomialPlan
    found: Mapping[str, Inverted]
    diagnostics: dict[str, object]
    output: OutputFolder

    def apply(self, circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
        """Return the stock tensors of a circuit."""
        del anchor
        if circuit.name not in self.found:
            return dict(tensors)
        one = self.found[circuit.name]
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{circuit.name}.")}
        parts = _parts(self.plan, circuit.name, one, tensors)
        dtype = torch_dtype(self.output, f"{circuit.name}.")
        return kept | {name: tensor.to(dtype) for name, tensor in one.stock.stored(parts)}


@dataclass(frozen=True, kw_only=True)
class PolyInvert:
    """The inversion has no hyper-parameters.

    Raises: UsageError.
    """

    name: ClassVar[str] = "poly_invert"
    label: ClassVar[str] = "poly_invert"
    about: ClassVar[str] = "undoes the polynomials of mergebarrier from the file alone"
    preserves_function: ClassVar[bool] = True
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> FittedPolynomials:
        """Find the range of every neuron; the anchor is not looked at.

        Raises: MethodRefused for a model without polynomials.
        """
        del anchor
        from mergebarrier.circuits import plan_of

        plan = plan_of(model)
        if plan is None:
            raise MethodRefused("its feed-forward networks are no polynomials", where=model.path,
                                remedy="use --method flip_again, or gaugefix with the base")  # fmt: skip
        blocks = list(plan["blocks"].items())
        look = partial(_inverted, plan, architecture, model)
        found = {path: one for (path, _), one in zip(blocks, parallel(look, blocks), strict=True)}
        off = torch.cat([one.off for one in found.values()])
        diagnostics: dict[str, object] = {
            "networks_inverted": len(found),
            "neurons_inverted": len(off),
            "shape_error_median": float(off.median()),
            "shape_error_max": float(off.max()),
            "tokens": 0,
        }
        folder = stock_folder(model, plan, {path: one.stock for path, one in found.items()}, architecture)
        return FittedPolynomials(plan=plan, found=found, diagnostics=diagnostics, output=folder)


def stock_folder(
    model: Checkpoint, plan: PolynomialPlan, stock: Mapping[str, FeedForward], architecture: Architecture
) -> OutputFolder:
    """Return the folder of the stock class that a model of polynomials stands for.

    The dtype of its networks is that of the rest of the model.
    """
    from mergebarrier.checkpoint import OutTensor
    from mergebarrier.circuits import stock_entries

    inside = tuple(f"{path}." for path in plan["blocks"])
    dtype = next((info.dtype for name, info in model.tensors.items() if not name.startswith(inside)), "F32")
    layout, names = list[OutTensor](), dict[str, tuple[str, ...]]()
    for name, info in model.tensors.items():
        path = next((one[:-1] for one in inside if name.startswith(one)), None)
        if path is None:
            layout.append(OutTensor(name, info.dtype, info.shape, info.shard))
        elif path not in names:
            made = shapes(stock[path], plan["blocks"][path])
            layout += [OutTensor(one, dtype, shape, info.shard) for one, shape in made.items()]
            circuit = architecture.circuit(path)
            names[path] = (*(one for one in circuit.tensors if not one.startswith(f"{path}.")), *made)
    said, unsaid = stock_entries(model.config, plan)
    return OutputFolder(layout=layout, names=names, config=said, unsaid=unsaid)


def shapes(stock: FeedForward, block: PolynomialBlock) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a stock network: name -> shape."""
    neurons, width = block["polynomial"] + block["exact"], block["width"]
    given = ("gate", "up", "down") if block["gated"] else ("gate", "down")
    parts = {part: torch.empty(neurons, width, device="meta") for part in given}
    parts |= {
        f"{part}_bias": torch.empty(width if part == "down" else neurons, device="meta") for part in block["biased"]
    }
    return {name: tuple(tensor.shape) for name, tensor in stock.stored(parts)}


def torch_dtype(folder: OutputFolder, prefix: str) -> torch.dtype:
    """Return the dtype of the tensors of a folder below a prefix."""
    from mergebarrier.checkpoint.bytes import TORCH

    assert folder.layout is not None
    return TORCH[next(one.dtype for one in folder.layout if one.name.startswith(prefix))]


def _inverted(
    plan: PolynomialPlan, architecture: Architecture, model: Checkpoint, item: tuple[str, PolynomialBlock]
) -> Inverted:
    """Find the ranges of one network."""
    from mergebarrier.circuits import stock_circuit
    from mergebarrier.symmetry import feed_forward

    path, block = item
    stock = feed_forward(stock_circuit(architecture, path, block))
    if stock is None:
        raise MethodRefused("the table of the family has no network of plain maps here", where=path,
                            remedy="take the network of the base: --method base_ffn")  # fmt: skip
    if plan["form"] == "compact":
        mid, half = (model.read(f"{path}.poly_{name}").double() for name in ("mid", "half"))
        return Inverted(stock=stock, mid=mid, half=half, off=torch.zeros_like(mid))
    shape = _published(model, path, plan["order"])
    bias = model.read(f"{path}.poly_in.bias").double()
    from mergebarrier.realign.shapes import ranges

    mid, half, off = ranges(plan, block, shape, bias)
    return Inverted(stock=stock, mid=mid, half=half, off=off)


def _published(model: Checkpoint, path: str, order: int) -> Tensor:
    """Return the coefficients of every neuron up to a factor: Float64[Tensor, "n order+1"], two matrices at a time."""
    names = [f"{path}.poly_out.{n}.weight" for n in range(order + 1)]
    direction = model.read(names[0]).double()
    size = direction.norm(dim=0)
    for name in names[1:]:
        other = model.read(name).double()
        larger = other.norm(dim=0) > size
        direction = torch.where(larger, other, direction)
        size = direction.norm(dim=0)
    return torch.stack([(model.read(name).double() * direction).sum(0) for name in names], dim=1)


def _parts(plan: PolynomialPlan, path: str, one: Inverted, tensors: Tensors) -> dict[str, Tensor]:
    """Return the three maps of a network from its published tensors and its ranges."""
    block = plan["blocks"][path]
    inside = {
        name.removeprefix(f"{path}."): tensor.double() for name, tensor in tensors.items() if name.startswith(path)
    }
    if plan["form"] == "compact":
        found = {
            part: inside[f"poly_{part}.weight"] for part in ("gate", "up", "down") if f"poly_{part}.weight" in inside
        }
        found["down"] = found["down"].mT
        return found | {f"{part}_bias": inside[f"poly_{part}.bias"] for part in block["biased"]}
    a = _coefficients(plan, block, one)
    down = sum((inside[f"poly_out.{n}.weight"] * row for n, row in enumerate(a.unbind(1))), start=torch.zeros(()))
    found = {"gate": inside["poly_in.weight"] * one.half[:, None], "down": (down / a.square().sum(1)).mT}
    found |= {"gate_bias": inside["poly_in.bias"] * one.half + one.mid} if "gate" in block["biased"] else {}
    found |= {
        part: inside[name] for part, name in (("up", "poly_up.weight"), ("up_bias", "poly_up.bias")) if name in inside
    }
    for part, name in _EXACT.items():
        if name in inside:
            found[part] = torch.cat([found[part], inside[name].mT if part == "down" else inside[name]])
    return found | ({"down_bias": inside["poly_out.0.bias"]} if "down" in block["biased"] else {})


def _coefficients(plan: PolynomialPlan, block: PolynomialBlock, one: Inverted) -> Tensor:
    from mergebarrier.numerics import polynomials

    return polynomials.coefficients(plan["basis"], block["activation"], one.mid, one.half, plan["order"])
