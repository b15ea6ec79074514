"""A feed-forward network whose activation is a polynomial, in the place where a stock class has its own.

    y = sum_n W_n (T_n(t) * u) + stock part,    t = W_in x + b_in,    u = W_up x + b_up  (1 without a gate)

``t`` is the input of the activation, scaled so that what calibration saw lies in [-1, 1]; T_n are Chebyshev polynomials
or powers.  Outside they would explode: left of -1 each keeps its value there, right of 1 it goes on along its tangent.
The stock part holds the neurons that no polynomial of the order fits.

Source: arXiv 2511.10712 (activation unfolding), arXiv 2410.05331 (the Taylor form).  This file stands in every folder
of such a model, byte for byte as in the package, and needs torch and transformers alone; config.json says which modules
are replaced.  ``modeling_mergebarrier.NAME`` is the stock class NAME with them replaced.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import TypedDict

#: Key of config.json, and the name of this file in a folder.
PLAN, MODELING = "mergebarrier_ffn", "modeling_mergebarrier.py"
Activation = Literal["silu", "gelu", "gelu_tanh", "quick_gelu"]
Form = Literal["unfolded", "compact"]
Basis = Literal["chebyshev", "taylor"]
Outside = Literal["linear", "clamp"]


class PolynomialBlock(TypedDict):
    """A module that is replaced.

    Attributes:
      width:      of what it reads and gives.
      polynomial: neurons that are polynomials; ``exact`` those that are not.
      replaces:   the tensors of the stock module.
      gated:      whether a gate and what it lets through are two maps.
      biased:     which of "gate", "up", "down" have a bias.
      activation: a key of ``ACTIVATIONS``.
    """

    width: int
    polynomial: int
    exact: int
    replaces: list[str]
    gated: bool
    biased: list[Literal["gate", "up", "down"]]
    activation: Activation


class PolynomialPlan(TypedDict):
    """What config.json says.

    Attributes:
      form:       a key of ``FORMS``.
      basis:      of the polynomials; ``order`` their degree; ``outside`` how they go on right of 1.
      stock:      place in the configuration -> what it says of the activation, where loaders find another word now.
      blocks:     path of a module -> what replaces it.
    """

    form: Form
    basis: Basis
    order: int
    outside: Outside
    stock: dict[str, str]
    blocks: dict[str, PolynomialBlock]


#: Name -> the activation.
ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "gelu_tanh": lambda z: nn.functional.gelu(z, approximate="tanh"),
    "quick_gelu": lambda z: z * torch.sigmoid(1.702 * z),
}


def polynomials(t: Tensor, plan: PolynomialPlan) -> Iterator[Tensor]:
    """Yield T_0(t) .. T_order(t), at least in float32, continued outside [-1, 1] as the plan says.

    Args:
      t:    Float[Tensor, "*any"].
      plan: "basis" (chebyshev or taylor), "order", "outside" (linear or clamp, on the right; the left is clamped).
    """
    t = t.to(torch.promote_types(t.dtype, torch.float32))
    inside, beyond = t.clamp(-1, 1), (t - 1).clamp_min(0) if plan["outside"] == "linear" else None
    chebyshev = plan["basis"] == "chebyshev"
    before, now = torch.ones_like(inside), inside
    yield before
    for n in range(1, plan["order"] + 1):
        slope = n * n if chebyshev else n
        yield now if beyond is None else now + slope * beyond
        before, now = now, 2 * inside * now - before if chebyshev else inside * now


class UnfoldedFFN(nn.Module):
    """The polynomial with its coefficients multiplied into one output matrix per order.

    Args:
      plan:  of the model; ``block`` the part of it for this module.
    """

    def __init__(self, plan: PolynomialPlan, block: PolynomialBlock) -> None:
        """Make the matrices, without values."""
        super().__init__()
        self.plan, self.gated, self.activation = plan, block["gated"], block["activation"]
        width, n, m, biased = block["width"], block["polynomial"], block["exact"], block["biased"]
        self.poly_in = nn.Linear(width, n)
        if self.gated:
            self.poly_up = nn.Linear(width, n, bias="up" in biased)
        self.poly_out = nn.ModuleList(
            nn.Linear(n, width, bias=order == 0 and "down" in biased) for order in range(plan["order"] + 1)
        )
        self.exact = m > 0
        if self.exact:
            self.exact_gate_proj = nn.Linear(width, m, bias="gate" in biased)
            if self.gated:
                self.exact_up_proj = nn.Linear(width, m, bias="up" in biased)
            self.exact_down_proj = nn.Linear(m, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Float[Tensor, "*batch width"] -> the same."""
        up = self.poly_up(x) if self.gated else None
        y = torch.zeros_like(x)
        for out, value in zip(self.poly_out, polynomials(self.poly_in(x), self.plan), strict=True):
            y = y + out((value if up is None else value * up).to(x.dtype))
        if self.exact:
            hidden = ACTIVATIONS[self.activation](self.exact_gate_proj(x))
            y = y + self.exact_down_proj(hidden * self.exact_up_proj(x) if self.gated else hidden)
        return y


class CompactFFN(nn.Module):
    """The stock matrices, and the coefficients beside them: it hides nothing, and shows what the arithmetic does.

    Args:
      plan:  of the model; ``block`` the part of it for this module.
    """

    def __init__(self, plan: PolynomialPlan, block: PolynomialBlock) -> None:
        """Make the matrices, without values."""
        super().__init__()
        self.plan, self.gated, self.activation = plan, block["gated"], block["activation"]
        width, biased, n = block["width"], block["biased"], block["polynomial"]
        neurons = n + block["exact"]
        self.poly_gate = nn.Linear(width, neurons, bias="gate" in biased)
        if self.gated:
            self.poly_up = nn.Linear(width, neurons, bias="up" in biased)
        self.poly_down = nn.Linear(neurons, width, bias="down" in biased)
        self.poly_coef = nn.Parameter(torch.empty(n, plan["order"] + 1))
        self.poly_mid = nn.Parameter(torch.empty(n))
        self.poly_half = nn.Parameter(torch.empty(n))

    def forward(self, x: Tensor) -> Tensor:
        """Float[Tensor, "*batch width"] -> the same."""
        z = self.poly_gate(x)
        hidden = ACTIVATIONS[self.activation](z)
        n = len(self.poly_mid)
        t = (z[..., :n] - self.poly_mid) / self.poly_half
        values = zip(self.poly_coef.unbind(1), polynomials(t, self.plan), strict=True)
        found = sum((a * value for a, value in values), start=torch.zeros(()))
        hidden = torch.cat([found.to(x.dtype), hidden[..., n:]], dim=-1)
        y: Tensor = self.poly_down(hidden * self.poly_up(x) if self.gated else hidden)
        return y


FORMS: Mapping[Form, Callable[[PolynomialPlan, PolynomialBlock], nn.Module]] = {
    "unfolded": UnfoldedFFN,
    "compact": CompactFFN,
}


def replace_blocks(module: nn.Module, plan: PolynomialPlan) -> None:
    """Put the modules that a plan names in the place of the stock ones, without values."""
    for path, block in plan["blocks"].items():
        module.set_submodule(path, FORMS[plan["form"]](plan, block))


def with_polynomials(stock: type) -> type:
    """Return a stock class whose configuration has a plan, with the modules of the plan; it has the stock name."""

    def __init__(self: nn.Module, config: object, *inputs: object, **options: object) -> None:
        plan: PolynomialPlan = getattr(config, PLAN)
        for place, value in plan["stock"].items():
            *tables, key = place.split(".")
            setattr(functools.reduce(getattr, tables, config), key, value)
        inspect.getattr_static(stock, "__init__")(self, config, *inputs, **options)
        replace_blocks(self, plan)

    # Names of an older library are converted for stock classes, which this is but for a few modules.
    return type(stock.__name__, (stock,), {"__init__": __init__, "is_custom_code": classmethod(lambda made: False)})


def __getattr__(name: str) -> type:
    if name.startswith("_"):  # what the import system asks of any module
        raise AttributeError(name)
    import transformers

    stock = getattr(transformers, name, None)
    if not (isinstance(stock, type) and issubclass(stock, transformers.PreTrainedModel)):
        raise AttributeError(name)
    return with_polynomials(stock)
