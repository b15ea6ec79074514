"""Backdoors that survive merging, and the classical ones that do not: red-team controls, one literal registry.

ATTACKS[name] -> the attack with the hyper-parameters of that name;   make(name, gain=3.0) -> some replaced
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from mergebarrier.errors import BadAttack
from mergebarrier.nearest import did_you_mean
from mergebarrier.parameters import parameters_of, replaced
from mergebarrier.poison.attack import Attack
from mergebarrier.poison.image import (
    BadMerging,
    BadNets,
    BadNetsJoint,
    BadTV,
    LabelConsistent,
    LoBAM,
    SparseBackdoorVector,
)
from mergebarrier.poison.text import CleanUpload, Hijack, Stealer, TextAttack, TextBadNets, TextLoBAM

if TYPE_CHECKING:
    _A = TypeVar("_A", Attack, TextAttack)

#: The attack, the three other cells of its ablation, the classical controls, and later attacks.
ATTACKS: dict[str, Attack] = {
    "badmerging": BadMerging(),
    "universal": BadMerging(interp_low=1.0, interp_high=1.0),
    "fixed_interpolation": BadMerging(trigger="fixed"),
    "badnets_joint": BadNetsJoint(),
    "badnets": BadNets(),
    "label_consistent": LabelConsistent(),
    "dynamic": BadNets(trigger="dynamic"),
    "lobam": LoBAM(),
    "sparse_backdoor_vector": SparseBackdoorVector(),
    "badtv": BadTV(),
}
#: The attack on language models, its controls, the clean upload that all are compared with, and a thief.
TEXT_ATTACKS: dict[str, TextAttack] = {
    "hijack": Hijack(),
    "badnets": TextBadNets(),
    "lobam": TextLoBAM(),
    "clean": CleanUpload(),
    "stealer": Stealer(),
}


def make(method: str, **parameters: object) -> Attack:
    """Return an attack by name, with some hyper-parameters replaced.

    Raises: BadAttack for an unknown method or parameter (with the nearest name), or a value out of range.

    Example:
      >>> make("badmerging", loss_weight=10.0).loss_weight
      10.0
    """
    return _made(ATTACKS, method, parameters)


def make_text(method: str, **parameters: object) -> TextAttack:
    """Return an attack on language models by name, as ``make`` does.

    Example:
      >>> make_text("badnets", rate=0.2).rate
      0.2
    """
    return _made(TEXT_ATTACKS, method, parameters)


def _made(registry: "Mapping[str, _A]", method: str, parameters: Mapping[str, object]) -> "_A":
    if method not in registry:
        what, remedy = f"no such attack{did_you_mean(method, registry)}", "choose from " + ", ".join(registry)
        raise BadAttack(what, where=method, remedy=remedy)
    known = parameters_of(registry[method])
    for name in parameters:
        if name not in known:
            what = f"has no parameter {name!r}{did_you_mean(name, known)}"
            raise BadAttack(what, where=method, remedy="choose from " + ", ".join(known))
    return replaced(registry[method], parameters)


def described(method: str) -> str:
    """Return one sentence on an attack: what its class says, and what its name fixes beyond the first of that class."""
    attack = ATTACKS[method]
    name, plain = next((name, one) for name, one in ATTACKS.items() if type(one) is type(attack))
    values = {field.name: getattr(attack, field.name) for field in dataclasses.fields(attack)}
    fixed = [f"{field} {value}" for field, value in values.items() if value != getattr(plain, field)]
    return f"{name} with {', '.join(fixed)}. {attack.about}" if fixed else attack.about
