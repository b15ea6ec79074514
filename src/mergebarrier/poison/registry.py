"""Backdoors that survive merging, and the classical ones that do not: red-team controls, one literal registry.

Everything here is a pure function of the encoder, heads, images and seed that it is given.
"""

import dataclasses
from typing import Any

from mergebarrier.errors import BadAttack
from mergebarrier.nearest import did_you_mean
from mergebarrier.poison.image import (
    Attack,
    BadMerging,
    BadNets,
    BadNetsJoint,
    BadTV,
    LabelConsistent,
    LoBAM,
    SparseBackdoorVector,
)

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


def make(method: str, **parameters: Any) -> Attack:
    """Return an attack by name, with some hyper-parameters replaced.

    Raises: BadAttack for an unknown method or parameter (with the nearest name), or a value out of range.

    Example:
      >>> make("badmerging", loss_weight=10.0).loss_weight
      10.0
    """
    if method not in ATTACKS:
        raise BadAttack(
            f"no such attack{did_you_mean(method, ATTACKS)}", where=method, remedy="choose from " + ", ".join(ATTACKS)
        )
    known = [field.name for field in dataclasses.fields(ATTACKS[method]) if field.name not in ("inner", "trigger")]
    for name in parameters:
        if name not in known:
            raise BadAttack(f"has no parameter {name!r}", where=method, remedy="choose from " + ", ".join(known))
    return dataclasses.replace(ATTACKS[method], **parameters)
