"""Where polynomials cannot be inverted: put the feed-forward networks of the base in their place.

Attention, norms and embeddings stay the model's own, so what the fine-tune learned there merges again; what it learned
in the networks is lost, and so the function changes.  How much that is, the answers of both to the same inputs say.

    apart = median over networks of |f_base(x) - f(x)| / |f(x)|,      x drawn, of unit size

Source: arXiv 2606.30360, which takes this way around MergeBarrier.  It is the fallback: ``poly_invert`` loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.checkpoint import OutputFolder
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch
from mergebarrier.parameters import check_values

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit
    from mergebarrier.modeling_mergebarrier import PolynomialPlan
    from mergebarrier.realign.realignment import ParallelMap
    from mergebarrier.symmetry import FeedForward, Tensors

_INPUTS: Final = 32


@dataclass(frozen=True, kw_only=True)
class FittedBase:
    """Where the base stores what takes the place of each network: circuit -> name in the output -> name in the base."""

    base: Checkpoint
    taken: Mapping[str, Mapping[str, str]]
    diagnostics: dict[str, object]
    output: OutputFolder

    def apply(self, circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
        """Return the tensors of a circuit, those of a network from the base."""
        del anchor
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{circuit.name}.")}
        return kept | {name: self.base.read(theirs) for name, theirs in self.taken.get(circuit.name, {}).items()}


@dataclass(frozen=True, kw_only=True)
class BaseFFN:
    """The fallback has no hyper-parameters.

    Raises: UsageError.
    """

    name: ClassVar[str] = "base_ffn"
    label: ClassVar[str] = "base_ffn"
    about: ClassVar[str] = "puts the base's feed-forward networks in the place of polynomials"
    preserves_function: ClassVar[bool] = False
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> FittedBase:
        """Find the networks of the base, and how far their answers are from those of the model.

        Raises: MethodRefused for a model without polynomials, BadConfig.
        """
        from mergebarrier.circuits import describe, plan_of, stock_circuit
        from mergebarrier.realign.poly_invert import stock_folder
        from mergebarrier.symmetry import feed_forward

        plan = plan_of(model)
        if plan is None:
            raise MethodRefused("its feed-forward networks are no polynomials", where=model.path,
                                remedy="use --method gaugefix")  # fmt: skip
        theirs = {member.canonical: member.name for circuit in describe(anchor).circuits for member in circuit.members}
        stock = {path: stock_circuit(architecture, path, block) for path, block in plan["blocks"].items()}
        networks = {path: feed_forward(circuit) for path, circuit in stock.items()}
        known = {path: network for path, network in networks.items() if network is not None}
        folder = stock_folder(model, plan, known, architecture)
        taken = {
            path: {one.name: theirs[one.canonical] for one in circuit.members if one.name in folder.names[path]}
            for path, circuit in stock.items()
        }
        apart = torch.tensor([_apart(plan, path, model, anchor, known[path], names) for path, names in taken.items()])
        diagnostics: dict[str, object] = {
            "networks_taken": len(taken), "answers_apart": float(apart.median()), "tokens": 0,
        }  # fmt: skip
        return FittedBase(base=anchor, taken=taken, diagnostics=diagnostics, output=folder)


def _apart(
    plan: PolynomialPlan,
    path: str,
    model: Checkpoint,
    base: Checkpoint,
    network: FeedForward,
    names: Mapping[str, str],
) -> float:
    """Return the relative distance of what the base's network answers from what the model's does."""
    from mergebarrier.modeling_mergebarrier import ACTIVATIONS, FORMS
    from mergebarrier.numerics import draws

    block = plan["blocks"][path]
    with torch.device("meta"):
        ours = FORMS[plan["form"]](plan, block)
    inside = {name: model.read(f"{path}.{name}").float() for name in ours.state_dict()}
    ours.load_state_dict(inside, assign=True)
    parts = {part: value.float() for part, value in network.parts({n: base.read(t) for n, t in names.items()}).items()}
    x = draws.uniform(("base_ffn", path), _INPUTS, block["width"], low=-1.0).to(parts["gate"].device).float() * 3**0.5
    with torch.no_grad():
        hidden = ACTIVATIONS[block["activation"]](x @ parts["gate"].mT + parts.get("gate_bias", 0))
        hidden = hidden * (x @ parts["up"].mT + parts.get("up_bias", 0)) if block["gated"] else hidden
        answer = ours(x)
        return float((hidden @ parts["down"] + parts.get("down_bias", 0) - answer).norm() / answer.norm())
