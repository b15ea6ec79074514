"""Declarations of the hyper-parameters that several merge methods share: one text, one range, one name each."""

import math

from mergebarrier.parameters import flag, number, numbers, whole

__all__ = ["coefficient", "normalize", "seed", "task_vectors", "weights"]


def weights(*, low: float = -math.inf) -> tuple[float, ...]:
    """Declare w_i, one per expert."""
    text = "Weight per model, or one for all; none means 1 each."
    return numbers((), help=text, each=True, required=True, recipe="weight", flag="--weight", low=low)


def coefficient() -> float:
    """Declare lambda."""
    return number(1.0, help="Lambda: multiplies the combined task vector.", recipe="lambda")


def normalize() -> bool:
    """Declare the division of a sum of task vectors by that of the weights."""
    return flag(False, help="Divide by the sum of the weights; a sum below 1e-8 divides by 1.", recipe="normalize")


def task_vectors() -> bool:
    """Declare what a method whose base is optional works on."""
    return flag(False, help="Work on task vectors about the base; on when there is a base.", gradient=False)


def seed() -> int:
    """Declare the seed of a method that draws."""
    return whole(0, help="Seed of the draws.", gradient=False, flag="-")
