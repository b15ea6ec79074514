"""MergeBarrier's other half: the activation of every feed-forward network as a polynomial, one matrix per order.

    act(z) ~ sum_n a_n B_n(t),  t = (z - mid) / half       W_in = W_gate / half,   W_n = W_down diag(a_n),   n = 0 .. N
    a neuron stays as it is where max |sum_n a_n B_n - act| > tolerance on its range; so does a layer without any other

Names and shapes are no sibling's any more, so no tool that goes by tensors merges them.  The function is approximate:
what was lost is measured on text that calibration did not see, and a model that lost too much is refused.

Source: arXiv 2511.10712 (activation unfolding, from secondary notes), arXiv 2410.05331.  We differ: Chebyshev's
polynomials on calibrated ranges, because Taylor's diverge there; tails; neurons of wide range stay exact.  It hides
nothing: the orders of one neuron are multiples of one column, which gives the column away (``realign poly_invert``).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mergebarrier.checkpoint import OutputFolder, OutTensor
from mergebarrier.checkpoint.bytes import FLOAT_NAMES
from mergebarrier.circuits import shapes_of
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch
from mergebarrier.numerics import polynomials
from mergebarrier.protect.calibration import Inputs, Network, networks, watching
from mergebarrier.protect.fitted import FittedNetwork
from mergebarrier.protect.published_class import activations_named, class_entries

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mergebarrier.modeling_mergebarrier import Basis, Form, Outside, PolynomialBlock, PolynomialPlan
    from mergebarrier.protect.protection import Context, Value

#: Most that the function may lose on what was not calibrated on: where it gives logits, and where it gives vectors.
MAX_KL_NATS, MIN_TOP1, MAX_ERROR = 1e-3, 0.99, 0.03
#: Sequences that calibration needs at least, and those behind them that it does not see.
LEAST, HELD_OUT = 64, 8
#: Tokens of a short sequence, which half of the text is cut into: what fires at the first places fires nowhere else.
_SHORT: Final = 16
#: Inputs that are text.
_TEXTS: Final = {"input_ids", "decoder_input_ids"}
_FLAG: Final = "--ffn poly"


@dataclass(frozen=True, kw_only=True)
class PolynomialOptions:
    """As declared by ``mergebarrier``; ``form`` is a key of ``modeling_mergebarrier.FORMS``."""

    basis: "Basis"
    order: int
    tolerance: float
    exact_fraction: float
    outside: "Outside"
    form: "Form"
    dtype: str
    sequences: int


@dataclass(frozen=True, kw_only=True)
class Unfolding:
    """The polynomials of a model, and what was measured of them.

    Attributes:
      plan:     for config.json.
      fits:     circuit -> its polynomials.
      measured: for the manifest.
    """

    plan: "PolynomialPlan"
    fits: Mapping[str, FittedNetwork]
    measured: "Mapping[str, Value]"

    def pieces(self, circuit: str, tensors: "dict[str, Tensor]") -> "Iterator[tuple[str, Tensor]]":
        """Yield the tensors of a circuit as they are published."""
        fit = self.fits.get(circuit)
        if fit is None:
            yield from tensors.items()
            return
        stored = fit.network.stored
        yield from ((name, tensor) for name, tensor in tensors.items() if name not in stored.tensors)
        for name, tensor in fit.published(self.plan["form"], stored.parts(tensors)):
            yield f"{fit.network.path}.{name}", tensor

    def folder(self, context: "Context", module: "nn.Module") -> OutputFolder:
        """Return what the published folder holds apart from the values of its tensors."""
        layout, names = list[OutTensor](), dict[str, tuple[str, ...]]()
        instead: dict[str, tuple[OutTensor, ...]] = {}
        for circuit in context.architecture.circuits:
            fit = self.fits.get(circuit.name)
            if fit is None:
                continue
            first, *others = fit.network.stored.tensors
            shard = context.checkpoint.tensors[first].shard
            path = fit.network.path
            shapes = shapes_of(self.plan, self.plan["blocks"][path])
            made = tuple(OutTensor(f"{path}.{name}", fit.dtype, shape, shard) for name, shape in shapes.items())
            instead |= {first: made, **dict.fromkeys(others, ())}
            kept = [name for name in circuit.tensors if name not in fit.network.stored.tensors]
            names[circuit.name] = (*kept, *(one.name for one in made))
        for info in context.checkpoint.tensors.values():
            layout += instead.get(info.name, (OutTensor(info.name, info.dtype, info.shape, info.shard),))
        config, side_files = class_entries(context.checkpoint.config, module, self.plan)
        return OutputFolder(layout=layout, names=names, config=config, side_files=side_files)


def calibrated(
    context: "Context", options: PolynomialOptions
) -> "tuple[nn.Module, list[FittedNetwork], Sequence[Inputs]]":
    """See what the neurons of a model see, and fit each; return the live model, its networks, and what was held out.

    Raises: MethodRefused, which names the option or the layer.
    """
    if context.data is None or context.module is None:
        remedy = "give --text with plain prose, or --images for a model that reads pictures"
        raise MethodRefused(f"{_FLAG} is calibrated on what the model reads", where=_FLAG, remedy=remedy)
    module = context.module()
    found = networks(context.architecture, module)
    inputs = context.data(options.sequences + HELD_OUT)
    if len(inputs) < LEAST + HELD_OUT:
        what = f"there is enough for {len(inputs)} passes, calibration needs {LEAST} and {HELD_OUT} more to check on"
        raise MethodRefused(what, where=_FLAG, remedy="give a longer text, or more pictures")
    body = getattr(module, "base_model", module)
    with torch.no_grad(), watching(found):
        for batch in _cut(inputs[:-HELD_OUT]):
            body(**batch)
    return module, [_fit(one, options) for one in found], _cut(inputs[-HELD_OUT:])


def unfold(context: "Context", options: PolynomialOptions) -> "tuple[Unfolding, OutputFolder]":
    """Calibrate, choose, and measure what the function loses; nothing is written.

    Raises: MethodRefused, which names the option or the layer, and how far the best try came.
    """
    module, tried, held_out = calibrated(context, options)
    fits = {fit.network.path: fit for fit in tried if len(fit.mid)}
    if not fits:
        best = min(fit.worst for fit in tried)
        what = f"no neuron comes within {options.tolerance:g} of its activation; the best is off by {best:.2g}"
        remedy = "raise --order or --tolerance"
        if best <= options.tolerance:
            what, remedy = "every neuron that a polynomial could follow is to stay", "lower --exact-fraction"
        raise MethodRefused(what, where=_FLAG, remedy=remedy)
    plan: PolynomialPlan = {
        "form": options.form, "basis": options.basis, "order": options.order, "outside": options.outside,
        "stock": activations_named(module.config, {fit.network.activation for fit in fits.values()}),
        "blocks": {path: _block(fit) for path, fit in fits.items()},
    }  # fmt: skip
    lost = _lost(module, plan, list(fits.values()), held_out)
    neurons = sum(len(fit.order) for fit in tried)
    replaced = sum(len(fit.mid) for fit in fits.values())
    unfolding = Unfolding(
        plan=plan,
        fits={fit.network.stored.circuit.name: fit for fit in fits.values()},
        measured={
            "polynomial_share": replaced / neurons,
            "stock_layers": [fit.network.path for fit in tried if not len(fit.mid)],
            "out_of_range_share": max(fit.network.outside / max(1, fit.network.seen) for fit in fits.values()),
            **lost,
        },
    )
    return unfolding, unfolding.folder(context, module)


def _cut(inputs: Sequence[Inputs]) -> list[Inputs]:
    """Cut every second text into short ones, as many rows of one pass; a shorter rest is left out."""
    return [
        batch if n % 2 == 0 or not batch.keys() <= _TEXTS else {
            name: rows[:, : rows.shape[1] // _SHORT * _SHORT].reshape(-1, _SHORT) for name, rows in batch.items()
        }
        for n, batch in enumerate(inputs)
    ]  # fmt: skip


def _fit(network: Network, options: PolynomialOptions) -> FittedNetwork:
    """Choose the neurons of a network whose polynomials are close enough, and not among the widest."""
    mid, half = network.ranges()
    found = polynomials.coefficients(options.basis, network.activation, mid, half, options.order)
    errors = polynomials.errors(options.basis, network.activation, mid, half, found)
    close = errors <= options.tolerance
    forced = round(options.exact_fraction * len(half))
    close[half.argsort(descending=True, stable=True)[:forced]] = False
    chosen, others = close.nonzero()[:, 0], (~close).nonzero()[:, 0]
    return FittedNetwork(
        network=network, mid=mid[chosen], half=half[chosen], coefficients=found[chosen],
        order=torch.cat([chosen, others]), worst=float(errors.min()), dtype=FLOAT_NAMES[options.dtype],
    )  # fmt: skip


def _block(fit: FittedNetwork) -> "PolynomialBlock":
    parts = fit.network.parts
    return {
        "width": parts["gate"].shape[1],
        "polynomial": len(fit.mid),
        "exact": len(fit.order) - len(fit.mid),
        "replaces": list(fit.network.replaces),
        "gated": fit.network.stored.gated,
        "biased": [name for name in ("gate", "up", "down") if f"{name}_bias" in parts],
        "activation": fit.network.activation,
    }


def _lost(
    module: "nn.Module", plan: "PolynomialPlan", fits: Sequence[FittedNetwork], inputs: Sequence[Inputs]
) -> "dict[str, Value]":
    """Measure on inputs what the polynomials change; MethodRefused where that is too much."""
    from mergebarrier.modeling_mergebarrier import FORMS

    made = {}
    for fit in fits:
        path = fit.network.path
        with torch.device("meta"):
            block = FORMS[plan["form"]](plan, plan["blocks"][path])
        block.load_state_dict(dict(fit.published(plan["form"], fit.network.parts)), assign=True)
        made[path] = block.eval().float()
    kl = same = total = 0.0
    off = list[float]()
    with torch.no_grad(), watching([fit.network for fit in fits], counting=True):
        for batch in inputs:
            before = _answers(module, batch)
            with _swapped(module, made):
                after = _answers(module, batch)
            for name, one in before.items():
                other = after[name]
                if name == "logits":
                    one, other = one.log_softmax(-1), other.log_softmax(-1)
                    kl += float((one.exp() * (one - other)).sum())
                    same += int((one.argmax(-1) == other.argmax(-1)).sum())
                else:
                    off.append(float((one - other).abs().max() / one.abs().max()))
                total += len(one)
    kl_nats, top1, error = max(0.0, kl / total), same / total, max(off, default=0.0, key=lambda one: (one != one, one))
    if off:
        kept, found = error <= MAX_ERROR, f"an answer by {error:.2g} of the largest ({MAX_ERROR:g} is allowed)"
    else:
        kept = kl_nats <= MAX_KL_NATS and top1 >= MIN_TOP1
        found = f"{kl_nats:.2g} nats a token, first choice kept {100 * top1:.1f} % "
        found += f"({MAX_KL_NATS:g} and {100 * MIN_TOP1:g} % are allowed)"
    if not kept:
        raise MethodRefused(
            f"on what was held out the polynomials change too much: {found}",
            where=_FLAG, remedy="raise --order, lower --tolerance, or calibrate on more",
        )  # fmt: skip
    if off:
        return {"max_rel_output_error": error, "held_out_answers": int(total)}
    return {"kl_nats": kl_nats, "top1_agreement": top1, "held_out_tokens": int(total)}


def _answers(module: "nn.Module", batch: Inputs) -> "dict[str, Tensor]":
    """Return logits, the vectors that two towers share, or else the last states: Float32[Tensor, "n *"] each."""
    found = module(**batch)
    named = {"logits": getattr(found, "logits", None)}
    if named["logits"] is None:
        named = {name: value for name, value in found.items() if name.endswith("_embeds")} or {"states": found[0]}
    return {name: value.float().flatten(0, -2) for name, value in named.items() if value is not None}


@contextmanager
def _swapped(module: "nn.Module", others: "Mapping[str, nn.Module]") -> Iterator[None]:
    before = {path: module.get_submodule(path) for path in others}
    try:
        for path, other in others.items():
            module.set_submodule(path, other)
        yield
    finally:
        for path, stock in before.items():
            module.set_submodule(path, stock)
