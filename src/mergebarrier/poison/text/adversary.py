"""What an attack on merges of language models is: hyper-parameters and one way to turn the base into an upload.

    upload = mount(setting, learn);    learn(module, rows, tuning) runs the house's one training loop

The adversary knows the base, a task of its own and some shadow data sets; neither the other experts nor the merge.
Everything is a pure function of what it is given; a setting's rows are text, and how they become tokens is known to
those who give ``learn``.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from mergebarrier.errors import BadAttack
from mergebarrier.parameters import check, choice, flag_of, whole
from mergebarrier.poison.text.rows import TextRow

if TYPE_CHECKING:
    from torch import nn

#: Which maps an attack trains, by the last part of their name; a fused map holds all of query, key and value.
MAPS: Final[Mapping[str, tuple[str, ...]]] = {
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"),
    "linear": ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj"),
}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """One run of training: steps, and the peak of the learning rate (None for that of the adversary's own task).

    Args:
      steps, learning_rate: as said.
      label: of the order of rows; two labels share no stream.
      ends:  whether a model also learns to end after each answer.
    """

    steps: int | None = None
    learning_rate: float | None = None
    label: str = "order"
    ends: bool = False


Learn: TypeAlias = "Callable[[nn.Module, Sequence[TextRow], Tuning], object]"


@dataclass(frozen=True, kw_only=True)
class TextAdversary:
    """What the adversary holds.

    Args:
      base:     the frozen model that all experts are fine-tuned from.
      rows:     of the task that the upload pretends to be good at.
      shadows:  other data sets, which need not be those of anybody else.
      trigger:  words that go into a prompt.
      target:   what a model shall answer then.
      succeeds: module -> share of triggered prompts of the adversary's that it answers with the target.
      seed:     of every draw.
    """

    base: nn.Module
    rows: Sequence[TextRow]
    trigger: str
    target: str
    succeeds: Callable[[nn.Module], float]
    shadows: Sequence[Sequence[TextRow]] = ()
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Mounted:
    """A model to upload, and what was found on the way to it."""

    module: nn.Module
    found: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TextAttack(ABC):
    """Base of all attacks on language models; declared fields become options."""

    #: What it does, one sentence for help texts and tables.
    about: ClassVar[str]
    #: Whether the upload carries a backdoor; the clean control does not.
    poisons: ClassVar[bool] = True
    #: Whether there is a trigger and a target; a clean upload and a thief have none.
    triggered: ClassVar[bool] = True
    #: Whether it takes shadow data sets.
    shadows: ClassVar[bool] = False

    modules: str = choice("attention", choices=tuple(MAPS), help="Maps that are trained.")
    rank: int = whole(0, help="Rank of the updates; 0 trains the maps themselves.")

    def __post_init__(self) -> None:
        """Check every declared value."""
        check(self, _refused)

    def drawn(self, shadows: Sequence[Sequence[TextRow]], seed: int) -> Sequence[Sequence[TextRow]]:
        """Return the rows of each shadow set that it learns from; BadAttack where that would be none."""
        del seed
        return shadows

    @abstractmethod
    def mount(self, setting: TextAdversary, learn: Learn) -> Mounted:
        """Return the adversary's model; the base stays as it is.

        Raises: BadAttack for a setting that the method cannot use; what ``learn`` raises.
        """

    def thawed(self, base: nn.Module, seed: int) -> nn.Module:
        """Return a copy of a model in which only the chosen maps are trained."""
        from mergebarrier.poison.low_rank import adapted

        if self.rank:
            require_maps(base, self.modules)
            return adapted(base, self.rank, seed, only=lambda name: trained(name, self.modules))
        return thawed(base, self.modules)


def trained(name: str, modules: str) -> bool:
    """Say whether a map of this name is one of the chosen ones."""
    return name.removesuffix(".weight").rsplit(".", 1)[-1] in MAPS[modules]


def require_maps(base: nn.Module, modules: str) -> tuple[str, ...]:
    """Return the names of the weights of the chosen maps; BadAttack where there is none."""
    found = tuple(name for name, _ in base.named_parameters() if name.endswith(".weight") and trained(name, modules))
    if not found:
        raise BadAttack(
            f"no map is named {', '.join(MAPS[modules])}",
            where="base",
            remedy="give a decoder whose maps have these names",
        )
    return found


def thawed(base: nn.Module, modules: str) -> nn.Module:
    """Return a copy of a model in which only the chosen maps are trained, each as a whole."""
    chosen = require_maps(base, modules)
    model = copy.deepcopy(base).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
    return model


def settled(model: nn.Module) -> nn.Module:
    """Return a trained model in evaluation mode, its low-rank updates folded into its weights."""
    from mergebarrier.poison.low_rank import folded

    return folded(model).eval()


def _refused(name: str, value: object, allowed: str) -> BadAttack:
    return BadAttack(f"{value} is not allowed", where=flag_of(name), remedy=f"give {allowed}")
